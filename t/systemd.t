#!/usr/bin/perl
# The units of systemd/ as they are installed: systemd finds nothing wrong with them, they are closed tightly, and what must
# not be lost in them is there.
use strict;
use warnings;
use File::Basename qw(basename);
use File::Spec::Functions qw(rel2abs);
use File::Temp qw(tempdir);
use Test::More;

my $source = rel2abs($ENV{USHER_SRCDIR} // '.');
my $folder = tempdir(CLEANUP => 1);

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    local $/;
    return scalar <$in>;
}

sub spew {
    my ($file, $text) = @_;
    open my $out, '>', $file or die "$file: $!";
    print {$out} $text;
    close $out or die "$file: $!";
}

# What a command prints on both outputs, and its exit status.
sub run {
    my (@command) = @_;
    my $pid = open my $out, '-|' // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec @command or exit 127;
    }
    my $text = do { local $/; <$out> } // '';
    close $out;
    return ($text, $? >> 8);
}

# Installs into $folder/NAME as `make install` does, except that the programs are only somewhere to point at.
sub install {
    my ($name, %change) = @_;
    my $to = "$folder/$name";
    mkdir $to or die "$to: $!";
    for my $program (qw(usher-server usher-scheduler)) {
        spew("$to/$program", "#!/bin/sh\n");
        chmod 0755, "$to/$program";
    }
    my @units;
    for my $file (glob("$source/systemd/*.service.in $source/systemd/*.socket $source/systemd/*.timer")) {
        my $text = slurp($file) =~ s/\@sbindir\@/$to/gr;
        my $unit = basename($file) =~ s/\.in$//r;
        $text = $change{$unit}->($text) if $change{$unit};
        spew("$to/$unit", $text);
        push @units, "$to/$unit";
    }
    return @units;
}

# Section.Key => [values] of a unit.
sub settings {
    my ($file) = @_;
    my ($section, %value) = ('');
    for (split /\n/, slurp($file)) {
        next if /^\s*(#|$)/;
        if (/^\[(\w+)\]$/) { $section = $1; next }
        my ($key, $value) = /^(\w+)=(.*)$/ or die "$file: what is '$_'?";
        push @{ $value{"$section.$key"} }, $value;
    }
    return \%value;
}

my @units = install('good');
is_deeply(
    [map { basename $_ } @units],
    [qw(usher-expire.service usher-promote.service usher.service usher.socket usher-expire.timer usher-promote.timer)],
    'all units are there');

my ($text, $status) = run(qw(systemd-analyze verify --man=no), @units);
is($status, 0,  'systemd-analyze verify accepts the units');
is($text,   '', '... without a word');

# The check itself can fail.
my @bad = install('bad', 'usher.service' => sub { $_[0] =~ s/^Type=notify/Typ=notify/mr });
($text) = run(qw(systemd-analyze verify --man=no), @bad);
like($text, qr/Unknown key.*\bTyp\b/, 'systemd-analyze verify would tell of a wrong key');

for my $unit (grep { /\.service$/ } @units) {
    my $name = basename $unit;
    ($text, $status) = run(qw(systemd-analyze security --offline=yes --threshold=15 --no-pager), $unit);
    is($status, 0, "$name is exposed at most 1.5");
    my ($exposure) = $text =~ /Overall exposure level for \Q$name\E: (\d+\.\d+)/;
    cmp_ok($exposure // 10, '<=', 1.5, "... in words, too: " . ($exposure // 'none'));
}
my ($open) = install('open', 'usher.service' => sub { $_[0] =~ s/\nPrivateNetwork=.*?\nUMask=\w+\n/\n/sr });
($text, $status) = run(qw(systemd-analyze security --offline=yes --threshold=15 --no-pager), "$folder/open/usher.service");
isnt($status, 0, 'a service without its hardening would not pass');

my %unit = map { basename($_) => settings($_) } @units;

my $socket = $unit{'usher.socket'};
is($socket->{'Socket.Accept'}[0],      'no',       'listening sockets are passed, not one for each connection');
is($socket->{'Socket.SocketMode'}[0],  '0660',     'only owner and group reach the socket');
is($socket->{'Socket.SocketGroup'}[0], 'www-data', 'the group is that of nginx');
my ($path, $shop) = @{ $socket->{'Socket.ListenStream'} };
like($path, qr{^/run/}, 'the socket is in /run');
is(scalar @{ $socket->{'Socket.ListenStream'} }, 2, 'there is one more');
like(slurp("$source/Makefile.am"), qr{--socket \Q$path\E --shop-socket \Q$shop\E }, 'and nginx looks for both where they are');
for my $name (grep { /\.service$/ } sort keys %unit) {
    my @kept = map { split } @{ $unit{$name}{'Service.RuntimeDirectory'} // [] };
    ok(!(grep { "$path\n$shop" =~ m{^/run/\Q$_\E/}m } @kept), "$name does not own the folder of the sockets");
}
my ($default) = slurp("$source/src/base/config.h") =~ /ROW\(TEXT,\s+listen,\s+"([^"]+)"/;
is($path, $default, 'the socket is where the configuration looks for it');

my $server = $unit{'usher.service'};
is($server->{'Service.Type'}[0], 'notify', 'the server says itself when it is ready');
ok($server->{'Service.WatchdogSec'}, 'the server is watched');
my @reload = @{ $server->{'Service.ExecReload'} };
is(scalar @reload, 2, 'a reload has two steps');
like($reload[0], qr{/usher-server --print-config\b}, 'a wrong configuration fails it');
like($reload[1], qr/HUP \$MAINPID$/, '... and a right one is a HUP to the master');
# systemd 252 takes an interval of 0, documented as no limit, for not set.
my ($interval) = $server->{'Service.LogRateLimitIntervalSec'}[0] =~ /^(\d+)s$/;
cmp_ok($interval, '>', 0, 'there is an interval for the rate of lines');
cmp_ok($server->{'Service.LogRateLimitBurst'}[0] / $interval, '>=', 50_000, 'the journal takes a line for each request of an on-sale');
is($server->{'Service.KillMode'}[0], 'mixed', 'TERM goes to the master, which lets its workers finish');
like($server->{'Unit.Requires'}[0], qr/\busher\.socket\b/, 'the server needs its socket');
for my $key (qw(jwt queue)) {
    ok((grep { /^\Q$key\E\.key:/ } @{ $server->{'Service.LoadCredential'} }), "the $key key is a credential");
    ok((grep { $_ eq "USHER_\U$key\E_KEY_FILE=%d/$key.key" } @{ $server->{'Service.Environment'} }),
        "... and the server is told where it is");
}
for my $name (qw(LIBFCGI_OS_CLOSE_POLL_TIMEOUT LIBFCGI_IS_AF_UNIX_KEEPER_POLL_TIMEOUT)) {
    ok((grep { $_ eq "$name=200" } @{ $server->{'Service.Environment'} }), "$name is short");
}

# systemd's own limit is what counts where a unit names none: 90 s to end after TERM.
sub seconds {
    my ($text) = @_;
    my ($number, $unit) = ($text // '90s') =~ /^(\d+)(ms|s)$/ or die "what is '$text'?";
    return $unit eq 'ms' ? $number / 1000 : $number;
}

my %period = (promote => 10, expire => 60);
for my $verb (sort keys %period) {
    my ($timer, $service) = @unit{ "usher-$verb.timer", "usher-$verb.service" };
    is($timer->{'Timer.AccuracySec'}[0], '100ms', "$verb is on time");
    ok(!(grep { /^Timer\.On(?!Calendar$)/ } keys %$timer), "$verb runs by the calendar alone");
    ($text) = run(
        qw(env TZ=UTC systemd-analyze calendar --iterations=2), '--base-time=2026-01-01 00:00:01',
        $timer->{'Timer.OnCalendar'}[0]);
    my @elapse = $text =~ /(?:Next elapse|Iter\. #2|Iteration #2): \w+ [\d-]+ ([\d:]+)/g;
    is_deeply(\@elapse, $verb eq 'promote' ? ['00:00:10', '00:00:20'] : ['00:01:00', '00:02:00'], "$verb is due at the right times")
        or diag $text;
    is($service->{'Service.Type'}[0], 'oneshot', "$verb ends before it is due again");
    like($service->{'Service.ExecStart'}[0], qr{/usher-scheduler \Q$verb\E(?: aligned)?$}, "$verb runs the scheduler");
    my ($limit, $grace) = map { seconds($service->{"Service.Timeout${_}Sec"}[0]) } qw(Start Stop);
    cmp_ok($limit + $grace, '<', $period{$verb},       "a $verb that hangs ends before the next is due, though it ignores TERM");
    cmp_ok($limit,          '>', $period{$verb} * 0.9, "... but one that is only busy does not");
    is($service->{'Service.LogLevelMax'}[0], 'notice', "$verb keeps the journal quiet");
}
my ($default_period) = slurp("$source/src/base/config.h") =~ /ROW\(TIME,\s+promote_period,\s+"(\w+)"/;
is($default_period, "$period{promote}s", 'the timer runs as often as promote_period says');

($text, $status) = run('systemd-sysusers', "--root=$folder", '--dry-run', "$source/systemd/usher.sysusers");
is($status, 0, 'sysusers accepts its file') or diag $text;
mkdir "$folder/root";
($text, $status) = run('systemd-tmpfiles', "--root=$folder/root", '--create', "$source/systemd/usher.tmpfiles");
unlike($text, qr/^\S+\.tmpfiles:\d+:/m, 'tmpfiles accepts its file');
ok(-d "$folder/root/run/usher", '... and makes the folder of the socket');

done_testing();
