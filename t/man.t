#!/usr/bin/perl
# The manual pages: without errors, and true to the programs: every key with its default and limits, every option and every
# command of --help.
use v5.36;
use FindBin;
use Test::More;

my $source = $ENV{USHER_SRCDIR}   // "$FindBin::Bin/..";
my $build  = $ENV{USHER_BUILDDIR} // "$source/build/check";
delete @ENV{ grep {/^USHER_/} keys %ENV };

# Standard output and error of a command, and its exit status.
sub run (@command) {
    my $pid = open my $out, '-|' // die "fork: $!\n";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec {$command[0]} @command or exit 127;
    }
    my $text = do { local $/; <$out> }
        // '';
    close $out;
    return ($text, $? >> 8);
}

sub slurp ($path) {
    open my $in, '<', $path or die "$path: $!\n";
    local $/;
    return scalar <$in>;
}

# A page as a reader sees it, in one long line.
sub shown ($page) {
    my ($text, $status) = run('mandoc', '-Tascii', $page);
    die "mandoc $page: $text (is mandoc installed? ./dev deps)\n" if $status;
    return $text =~ s/.\x08//gr =~ s/\s+/ /gr;
}

my @pages = sort glob "$source/man/*.[1-9]";
my %page  = map { (s{.*/}{}r => $_) } @pages;
for my $name (sort keys %page) {
    my ($text, $status) = run('mandoc', '-Tlint', '-Wwarning', $page{$name});
    is($status, 0, "$name: mandoc has no objection") or diag $text;
    is(join(' ', grep { length > 80 } split /\n/, slurp($page{$name}) =~ s/^\.Bd.*?^\.Ed//gmsr), '', "$name: no overlong line");
}

# ---- usher.conf(5): the keys

my ($sample, $status) = run("$build/usherctl", '--sample-config');
is($status, 0, 'usherctl --sample-config works');
my %default = map { (/^(\w+) = /m)[0] => (/^# (Default: .*)$/m)[0] } grep {/^\w+ = /m} split /\n\n/, $sample;
my ($printed) = run("$build/usherctl", '-c', '/dev/null', '--print-config');
my @keys = $printed =~ /^(\w+) = /mg;
cmp_ok(scalar @keys, '>', 20, 'there are keys');
is_deeply([ sort keys %default ], [ sort @keys ], 'the sample has every key');

my %described;
for my $item (split /^\.It Ic /m, slurp($page{'usher.conf.5'})) {
    my ($key)  = $item =~ /^(\w+) No = Ar \w+$/m or next;
    my ($text) = $item =~ /^\.Pq (Default: .*)$/m;
    ok(!exists $described{$key}, "usher.conf(5): $key is described once");
    $described{$key} = $text;
}
is($described{$_}, $default{$_}, "usher.conf(5): $_ with its default and limits") for @keys;
is_deeply([ grep { !exists $default{$_} } sort keys %described ], [], 'usher.conf(5): no key that is none');

# A page that names another default would be noticed.
isnt($described{promote_batch} =~ s/100;/101;/r, $default{promote_batch}, 'another default is another text');

# ---- the programs' pages: options and commands

for my $program (qw(usher-server usher-scheduler usherctl)) {
    my ($help) = run("$build/$program", '--help');
    my $text   = shown($page{"$program.8"});
    my @long   = $help =~ /(?<![\w-])(--[a-z-]+)/g;
    my @short  = $help =~ /^  (-\w),/mg;
    cmp_ok(scalar @long, '>=', 6, "$program --help lists options");
    like($text, qr/(?<![\w-])\Q$_\E(?![\w-])/, "$program(8): $_") for @long, @short;
    my ($options) = slurp($page{"$program.8"}) =~ /^\.Ss Options\n(.*?)^\.(?:Ss|Sh) /ms;
    my @described = map {"--$_"} $options =~ /Fl -([a-z-]+)/g;
    my @unknown   = grep { index($help, $_) < 0 } @described;
    is_deeply(\@unknown, [], "$program(8): no option that is none");

    # Lines of the usage that begin with two blanks and a word: commands, two with a comma between.
    my ($usage) = $help =~ /\A(.*?)^Options:/ms;
    my @commands = map { split /, / } $usage =~ /^  ([a-z]+(?:, [a-z]+)*)/mg;
    ok(scalar @commands, "$program --help lists commands") if $program ne 'usher-server';
    my $source_text = slurp($page{"$program.8"});
    like($source_text, qr/^\.It Cm (?:\w+ , )*\Q$_\E\b/m, "$program(8): command $_") for @commands;
    my @named = map { split / , / } $source_text =~ /^\.It Cm ([a-z]+(?: , [a-z]+)*)/mg;
    my %known = map { $_ => 1 } @commands;
    is_deeply([ grep { !$known{$_} } @named ], [], "$program(8): no command that is none");
}

# ---- who points where

for my $name (sort keys %page) {
    my @elsewhere = grep { !$page{$_} } map {tr/ /./r} slurp($page{$name}) =~ /^\.Xr (\S+ \d)/mg;
    is_deeply(\@elsewhere, [], "$name: refers to pages of ours that exist");
}
my @units = glob "$source/systemd/*";
for my $unit (@units) {
    my @elsewhere = grep { !$page{$_} } map {s/\((\d)\)/.$1/r} slurp($unit) =~ /man:(\S+)/g;
    is_deeply(\@elsewhere, [], ($unit =~ s{.*/}{}r) . ': Documentation= names pages that exist');
}

done_testing();
