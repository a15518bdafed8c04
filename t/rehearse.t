# usher-rehearse: a small on-sale on the whole stack with every seat sold once and nobody overtaken; and shops that break their
# promises, which it must notice.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP ();
use Test::More;
use Time::HiRes qw(sleep);
use Usher::FakeShop;
use Usher::Process;
use Usher::Stack;

my $build   = Usher::Stack::build();
my $program = "$build/usher-rehearse";
my $usher   = Usher::Stack->new(config => { promote_batch => 100, promote_period => '500ms', claim_window => '2h' });
my $key     = "$usher->{dir}/jwt.key";

# Runs it; (exit status, stdout, stderr).
sub rehearse (@args) { Usher::Process::run({ seconds => 120 }, $program, @args) }

# The same with --json: (exit status, report, stderr).
sub report (@args) {
    my ($status, $out, $err) = rehearse('--json', @args);
    my $report = eval { JSON::PP::decode_json($out) };
    return ($status, $report // {}, $err);
}
sub findings ($report) {
    my %findings = %{ $report->{findings} // { none => 1 } };
    return join ' ', map {"$_=$findings{$_}"} grep { $findings{$_} } sort keys %findings;
}

# ---- on the stack

my ($concert) = $usher->concerts(1);
my ($hall) = $usher->schedule($concert, seats => 100, price => 700);

# The clockwork, as the timers would run it.
my $clockwork = fork // die "fork: $!\n";
if (!$clockwork) {
    my $ended = 0;
    local $SIG{TERM} = sub { $ended = 1 };
    $usher->scheduler('promote') while !$ended && getppid != 1;
    POSIX::_exit(0);
}
my @server = ('--url', 'http://' . $usher->address, '--jwt-key-file', $key);

my $folder = "$usher->{dir}/report";
my ($status, $r, $err) = report(@server, '--fans', 300, '--schedule', $hall, '--think', 20, '--report', $folder);
is($status, 0, '300 fans, 100 seats: exit 0') or diag $err;
is_deeply($r->{seats} && [ @{ $r->{seats} }{qw(offered sold)} ], [ 100, 100 ], 'every seat is sold');
is(findings($r), '', 'nothing is wrong: no seat sold twice, no inversion');
is($r->{outcomes}{paid}, 100, 'a hundred fans have a ticket');
is($r->{outcomes}{paid} + $r->{outcomes}{too_late} + $r->{outcomes}{refused}, 300, 'the others found nothing');
ok($r->{seats}{seconds_to_sell_out} > 0, 'the time to sell out is told');
cmp_ok(abs($r->{seats}{sold_per_minute} * $r->{seats}{seconds_to_sell_out} / 60 - 100), '<', 1, '... and how many a minute');
my %operation = map { ($_->{name} => $_) } @{ $r->{operations} };
is($operation{join}{count}, 300, 'each joined once');
is($operation{pay}{count},  100, 'a hundred payments');
cmp_ok($operation{poll}{count}, '>=', 300, 'each asked before being let in');
ok($operation{pay}{p50_us} > 0 && $operation{pay}{p50_us} <= $operation{pay}{p99_us}, 'payments have percentiles');
ok(@{ $r->{timeline} } >= 2 && $r->{timeline}[-1]{sold} == 100, 'the timeline ends with all sold');

# What PostgreSQL says, whom nobody here asked so far.
is($usher->psql(q{SELECT count(*) FROM reservation_ticket t JOIN reservation r ON r.id = t.reservation_id WHERE t.schedule_id = $1 AND r.status = 'paid'}, $hall),
    100, 'the database agrees: 100 tickets');
is($usher->psql('SELECT count(*) FROM payment'), 100, '100 payments');

my $text = Usher::Process::slurp("$folder/report.txt");
like($text, qr/100 of 100 sold, the last one after [\d.]+ s, \d+ a minute$/m, 'report.txt');
is(JSON::PP::decode_json(Usher::Process::slurp("$folder/report.json"))->{seats}{sold}, 100, 'report.json');
my $page = Usher::Process::slurp("$folder/timeline.html");
my ($mean) = $page =~ m{requests for each fan<td>([\d.]+)<td>\d+$}m;
cmp_ok(abs(($mean // 0) - $r->{requests_for_each_fan}{mean}), '<', 0.1, 'timeline.html has the requests for each fan');
is(() = $page =~ /<svg /g, 4, 'timeline.html has four charts');
unlike($page, qr/<script|<link|src=|url\(/, 'and needs nothing from elsewhere');

# No-shows, leavers, non-payers: seats stay, and nothing is wrong.
my ($second) = $usher->schedule($concert, seats => 40, price => 0);
($status, $r) = report(@server, '--fans', 60, '--first-user', 1001, '--schedule', $second, '--concert', $concert, '--think', 5,
    '--no-shows', 0.2, '--leavers', 0.2, '--non-payers', 0.2, '--arrival', 'ramp:1', '--seats', 2, '--connections', 7);
is($status, 0, 'no-shows, leavers and non-payers: exit 0');
is(findings($r), '', 'nothing is wrong');
ok($r->{outcomes}{$_} > 0, "outcome $_") for qw(paid no_show left not_paid);
my %seats;
$seats{$_}++ for $usher->psql(q{SELECT seat_id FROM reservation_ticket WHERE schedule_id = $1
    AND live}, $second);
is($r->{seats}{sold}, $usher->psql(q{SELECT count(*) FROM reservation_ticket t JOIN reservation r ON r.id = t.reservation_id
    WHERE t.schedule_id = $1 AND r.status = 'paid'}, $second), 'sold is what is paid');
is_deeply([ grep { $seats{$_} > 1 } sort keys %seats ], [], 'no seat is there twice');

is($r->{seats}{seconds_to_sell_out}, undef, 'seats are left');
cmp_ok(abs($r->{seats}{sold_per_minute} * $r->{seconds} / 60 - $r->{seats}{sold}), '<', 0.1, '... and how many a minute were sold is told');

# The same seed makes the same fans.
my @outcomes = map {
    my ($fresh) = $usher->schedule($concert, seats => 200, price => 5);
    my (undef, $report) = report(@server, '--fans', 40, '--first-user', 2000 + 100 * $_, '--schedule', $fresh, '--concert', $concert,
        '--think', 0, '--no-shows', 0.3, '--leavers', 0.3, '--seed', 7);
    $report->{outcomes}
} 1 .. 2;
is_deeply($outcomes[0], $outcomes[1], 'the same seed, the same outcomes');

# Tokens from a file instead of the key.
my $tokens = Usher::Process::spew("$usher->{dir}/tokens", join '', map { $usher->jwt(user => 3000 + $_) . "\n" } 1 .. 5);
my ($third) = $usher->schedule($concert, seats => 5, price => 5);
($status, $r) = report('--url', 'http://' . $usher->address, '--tokens', $tokens, '--schedule', $third, '--think', 0, '--polls', 40);
is($status, 0, 'with --tokens: exit 0');
is($r->{outcomes}{paid}, 5, 'each token is a fan');
cmp_ok($r->{polls_for_each_fan}{mean}, '>=', 40, 'with --polls each asks so often first');

# calibrate: one step within what the line lets in, then it says why it stops.
my ($fourth) = $usher->schedule($concert, seats => 100, price => 5);
($status, $r) = report('calibrate', @server, '--first-user', 5000, '--schedule', $fourth, '--step', 1, '--p99', 60000);
is($status, 0, 'calibrate: exit 0');
ok($r->{transactions_per_minute} > 0 && @{ $r->{steps} } >= 1, 'calibrate: a rate is carried');
like($r->{limit} // '', qr/let in|run out/, 'calibrate: and it says why it did not go further');
my ($best) = sort { $b->{offered_per_s} <=> $a->{offered_per_s} } grep { $_->{good} } @{ $r->{steps} };
my $for_buyer = $best->{transactions_for_a_buyer} > 6 ? $best->{transactions_for_a_buyer} : 6;
my $batch     = 0.8 * $best->{transactions_per_minute} / $for_buyer / 6;
ok(abs($r->{promote_batch} - $batch) <= 1.1, "calibrate: promote_batch is the seed's arithmetic") or diag explain $batch, $r;

# A signal ends it with the report so far; --duration, too.
my ($fifth) = $usher->schedule($concert, seats => 10, price => 5);
my $slow = Usher::Process->start(command => [ $program, @server, '--json', '--fans', 50, '--first-user', 6000, '--schedule', $fifth,
    '--think', 60000 ], log => "$usher->{dir}/slow.log", stdout => "$usher->{dir}/slow.json", dir => $usher->{dir});
my $log = "$usher->{dir}/slow.log";
Usher::Process::until_true(sub { -e $log && Usher::Process::slurp($log) =~ m{came 50/50} }, 20);
$slow->signal('INT');
is($slow->wait(10) >> 8, 130, 'SIGINT: exit 130');
$r = JSON::PP::decode_json(Usher::Process::slurp("$usher->{dir}/slow.json"));
ok($r->{interrupted} && $r->{came} == 50 && $r->{outcomes}{still_here} == 50, 'with the report so far');
($status, $r) = report(@server, '--fans', 5, '--first-user', 7000, '--schedule', $fifth, '--think', 60000, '--duration', 1);
is($status, 0, '--duration: exit 0');
ok($r->{cut} && $r->{seconds} < 5, '--duration: cut');

# ---- what cannot be rehearsed

($status, undef, $err) = rehearse(@server, '--schedule', $hall, '--fans', 1, '--first-user', 8000);
is($status, 69, 'a sold-out hall: exit 69');
like($err, qr/no free seats/, 'and why');
kill 'TERM', $clockwork;
waitpid $clockwork, 0;

my $other = Usher::Process::spew("$usher->{dir}/other.key", 'x' x 40);
($status, undef, $err) = rehearse('--url', 'http://' . $usher->address, '--jwt-key-file', $other);
is($status, 78, 'another key: exit 78');
like($err, qr/jwt_key_file/, 'and what to give');
$usher->ctl('pause');
($status, undef, $err) = rehearse(@server);
is($status, 69, 'a paused line: exit 69');
like($err, qr/paused/, 'and why');
$usher->stop_server;
my $free = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1');
my $port = $free->sockport;
close $free;
($status, undef, $err) = rehearse('--url', "http://127.0.0.1:$port", '--jwt-key-file', $key);
is($status, 69, 'nobody there: exit 69');
like($err, qr/nobody answers/, 'and where');

for (
    [ [],                                                  'url' ],
    [ [ '--url', 'http://127.0.0.1:1' ],                   'jwt-key-file' ],
    [ [ @server, '--tokens', 'x' ],                        'either' ],
    [ [ '--url', 'https://a', '--jwt-key-file', $key ],    'http://' ],
    [ [ @server, '--fans', '0' ],                          'fans' ],
    [ [ @server, '--arrival', 'soon' ],                    'arrival' ],
    [ [ @server, '--no-shows', '1.5' ],                    'no-shows' ],
    [ [ @server, '--no-shows', '0.6', '--leavers', 0.6 ],  'more than all' ],
    [ [ @server, '--schedule', '1,,2' ],                   'schedule' ],
    [ [ @server, '--bogus' ],                              'bogus' ],
    [ [ @server, 'dance' ],                                'dance' ],
    [ [ 'calibrate', @server, '--no-shows', '0.5' ],       'calibrate' ],
) {
    my ($args, $word) = @$_;
    ($status, undef, $err) = rehearse(@$args);
    is($status, 64, "wrong usage ($word): exit 64");
    like($err, qr/\Q$word\E/, "names it: $word");
}

# ---- shops that break their promises

# [fault, exit status, findings, outcome that all ten fans share]; all at once.
my @shops = (
    [ '',           0, '',                                         'paid' ],
    [ 'busy',       0, '',                                         'paid' ],
    [ 'closed',     0, '',                                         'paid' ],
    [ 'seat-twice', 1, qr/seats_held_twice=\d+ seats_sold_twice=9/, 'paid' ],
    [ 'overtaking', 1, qr/^admission_inversions=\d+$/,             'paid' ],
    [ 'money',      1, qr/^wrong_money=10$/,                       'paid' ],
    [ 'html',       1, qr/failed_fans=10 unexpected_answers=10/,   'failed' ],
    [ 'internal',   1, qr/unexpected_answers=/,                    'failed' ],
);
for (@shops) {
    my $shop = $_->[4] = Usher::FakeShop->new(fault => $_->[0]);
    my $out  = "$usher->{dir}/shop-$_->[0]";
    $_->[5] = Usher::Process->start(
        command => [ $program, '--json', '--url', $shop->url, '--jwt-key-file', $key, '--fans', 10, '--think', 0, '--connections', 4 ],
        log     => "$out.log", stdout => "$out.json", stderr => "$out.log");
}
for (@shops) {
    my ($fault, $exit, $wrong, $outcome, $shop, $process) = @$_;
    my $out  = "$usher->{dir}/shop-$fault";
    my $name = length $fault ? "a shop with $fault" : 'a good shop';
    $status = $process->wait(60);
    is(defined $status ? $status >> 8 : 'still running', $exit, "$name: exit $exit") or diag Usher::Process::slurp("$out.log");
    $r = eval { JSON::PP::decode_json(Usher::Process::slurp("$out.json")) } // {};
    ref $wrong ? like(findings($r), $wrong, "$name: what is wrong") : is(findings($r), '', "$name: nothing is wrong");
    is($r->{outcomes}{$outcome}, 10, "$name: ten fans $outcome") or diag explain $r->{outcomes}, $r->{errors};
    ok(@{ $r->{errors} } > 0, "$name: the errors are counted") if $fault =~ /busy|html|internal/;
    $shop->stop;
}

# ---- the words

my ($help_status, $help) = rehearse('--help');
is($help_status, 0, '--help: exit 0');
my $manual = Usher::Process::slurp(Usher::Stack::source() . '/man/usher-rehearse.1');
like($manual, qr/^\.It Fl (?:\w , )?-\Q$_\E\b/m, "usher-rehearse(1): --$_") for $help =~ /^ +(?:-\w, )?--([\w-]+)/mg;
for my $option ($manual =~ /^\.It Fl (?:\w , )?-([\w-]+)/mg) {
    like($help, qr/--\Q$option\E\b/, "--help: --$option");
}
like((rehearse('--version'))[1], qr/^usher-rehearse \d/, '--version');

done_testing;
