# Hostile texts in every place where a text can stand, and what they leave behind: nothing changes, nothing is a 5xx, no header is
# injected, every line of every log still reads as key=value, and no secret is in a log, an error, a process list or a store.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Encode      ();
use Test::More;
use Time::HiRes qw(time);
use Usher::Check;
use Usher::Stack;

my $password = 'p4ssw0rd-of-the-database';
my $logs     = File::Temp->newdir;
chmod 0755, "$logs";
my $usher = Usher::Stack->new(workers => 2, nginx => { access_log => "$logs/access.log usher" }, server => 0);

# The role needs no password here, but an operator's does.
my $conf = Usher::Process::slurp($usher->{conf}) =~ s/^(database(?:_owner)? = .*)$/$1 password=$password/gmr;
Usher::Process::spew($usher->{conf}, $conf);
$usher->start_server;

my ($concert) = $usher->concerts(3);
my ($schedule, @seats) = $usher->schedule($concert, seats => 20);
my $jwt = $usher->jwt(user => 7, claims => { jti => 'a-claim-of-the-test' });
my $key = 'idempotency-key-of-the-test';
my ($token, $waits) = ($usher->admit(7), $usher->join_line(8));
my @me = (jwt => $jwt, token => $token);

# --- traffic whose secrets must not be found again ---

my @answers;
sub ask ($method, $path, %o) { push @answers, $usher->request($method, $path, %o); $answers[-1] }

status_is(ask(POST => '/v1/balance/charges', @me, key => $key, body => { amount => 5000, note => 'words-of-a-body' }), 201, 'a charge');
status_is(ask(POST => '/v1/balance/charges', @me, key => $key, body => { amount => 5001, note => 'words-of-a-body' }), 422, 'a reused key');
$usher->parallel([ map { [ POST => '/v1/balance/charges', @me, key => "$key-2", body => { amount => 1 } ] } 1 .. 6 ]);
my $hold = ask(POST => '/v1/reservations', @me, key => "$key-3", body => { schedule_id => $schedule, seat_ids => [ $seats[0] ] })->json;
status_is(ask(POST => '/v1/payments', @me, key => "$key-4", body => { reservation_id => $hold->{id} }), 201, 'a payment');
my $over = $token;
$token = $usher->admit(7);
@me    = (jwt => $jwt, token => $token);
ask(GET => "/v1/concerts?after=query-of-the-test", @me);
ask(GET => "/v1/concerts?access_token=$jwt",       token => $over);

# --- hostile texts ---

my @texts = (
    q{' OR '1'='1},        q{1; DROP TABLE ledger; --}, q{1 OR 1=1},              q{1)) UNION SELECT * FROM users --},
    q{$$; SELECT 1; $$},   q{\\'; SELECT 1 --},         q{{1,2}},                 q{1::text},
    q{%27%20OR%201=1},     q{a"b\\c},                   q{x user=1 status=200},   q{"},
    q{" status=200 code="x}, q{${jndi:ldap://x}},       q{{{7*7}}},               q{<script>alert(1)</script>},
    q{../../etc/passwd},   q{%s%n%x},                   "\x{c2}\x{85}line",       "\x{e2}\x{80}\x{a8}line",
    "\x{ed}\x{95}\x{9c}",  "\xff\xfe\x80",              "a\tb",                   "\x7f",
    '%0d%0aX-Injected: 1', '%00',                       'x' x 3000,               "1\\n2",
    '1,2',                 'null',                      '-1',                     '9223372036854775808',
);

sub encoded ($text) { $text =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ger }

# A refusal or a good answer, but nothing of the test's making in its header, and never our fault.
my @faults;
sub harmless ($r, $where) {
    push @faults, "$where: no answer"            if !$r;
    push @faults, "$where: status " . $r->status if $r && ($r->status >= 500 || $r->status < 200);
    push @faults, "$where: a header was injected" if $r && grep { ($_->[0] // '') =~ /^X-Injected/i } @{ $r->{headers} };
    push @answers, $r if $r;
}

my @paths = ('/v1/concerts/X', '/v1/concerts/X/schedules', '/v1/schedules/X/seats', '/v1/reservations/X', '/v1/payments/X', '/v1/X');
my @queries = (
    map({"/v1/concerts?$_=X"} qw(page size limit after X)), "/v1/schedules/$schedule/seats?all=X",
    "/v1/concerts/$concert/schedules?all=X",                map({"/v1/balance/entries?$_=X"} qw(limit after)), '/v1/reservations?X=X'
);
unchanged_ok(
    $usher,
    'hostile texts in paths, queries, bodies and headers change nothing',
    sub {
        for my $text (@texts) {
            for my $path (@paths, @queries) {
                harmless($usher->fcgi(GET => $path =~ s/X/encoded($text)/ger, @me), "$path with $text");
            }
            my $string = JSON::PP->new->utf8->allow_nonref->encode(Encode::decode('UTF-8', $text));
            for my $body (
                [ '/v1/reservations',     qq({"schedule_id":$string,"seat_ids":[1]}) ],
                [ '/v1/reservations',     qq({"schedule_id":$schedule,"seat_ids":[$string]}) ],
                [ '/v1/reservations',     qq({$string:1,"schedule_id":$schedule,"seat_ids":$string}) ],
                [ '/v1/payments',         qq({"reservation_id":$string}) ],
                [ '/v1/balance/charges',  qq({"amount":$string}) ],
                [ '/v1/balance/charges',  $text ],
                [ '/v1/queue/tokens',     $text ],
                )
            {
                harmless($usher->fcgi(POST => $body->[0], @me, key => $usher->new_key, raw => $body->[1]), "$body->[0] with $body->[1]");
            }
            harmless($usher->fcgi(GET    => '/v1/queue/tokens/me', token => $text), "poll with $text");
            harmless($usher->fcgi(DELETE => '/v1/queue/tokens/me', token => $text), "leave with $text");
            harmless($usher->fcgi(DELETE => '/v1/reservations/' . encoded($text), @me), "cancel with $text");
            harmless($usher->fcgi($text =~ s/\s//gr => '/v1/balance', @me), "method $text");
        }
    }
);

# A key is stored: as the text that it is.
my $quoted = q{'); DELETE FROM ledger; -- "$1\\};
for my $round (1, 2) {
    my $r = ask(POST => '/v1/balance/charges', @me, key => $quoted, body => { amount => 3 });
    status_is($r, 201, 'a key of SQL is a key');
    header_is($r, 'Idempotent-Replayed', $round == 2 ? 'true' : undef, 'and found again as it is');
}
is($usher->psql('SELECT count(*) FROM idempotency_key WHERE key = $1', $quoted), 1, 'it is stored letter by letter');

# Every header, over nginx; and past it with raw line ends, which no nginx would let through.
my @headers = qw(Authorization Queue-Token Idempotency-Key X-Request-Id Content-Type If-None-Match Host User-Agent Referer Cookie Accept
    Range If-Modified-Since Expect X-Forwarded-For Forwarded Proxy Upgrade Origin X-HTTP-Method-Override X-Accel-Redirect);
my $split = "x\r\nX-Injected: yes\r\n\r\n<html>";
for my $header (@headers) {
    for my $text (@texts) {
        my @others = $header eq 'Authorization' ? () : (jwt => $jwt);
        push @others, token => $token if $header ne 'Queue-Token';
        push @others, type  => undef  if $header eq 'Content-Type';
        my $bytes = $usher->_bytes(POST => '/v1/payments', @others, raw => '{"reservation_id":0}', headers => [ $header => $text ]);
        $bytes =~ s/^Host: usher\.test\r\n//m if $header eq 'Host';
        harmless(Usher::Http::exchange(Usher::Http::connect_to($usher->address), $bytes, 'POST'), "$header: $text");
    }
    harmless($usher->fcgi(GET => '/v1/concerts', ($header eq 'Authorization' ? () : (jwt => $jwt)), headers => [ $header => $split ]),
        "$header with a line end");
}
for my $param (qw(REQUEST_METHOD REQUEST_URI QUERY_STRING REMOTE_ADDR CONTENT_LENGTH HTTP_X_REQUEST_ID SCRIPT_NAME)) {
    harmless(
        do { my $r = $usher->fcgi_open(GET => '/v1/balance', jwt => $jwt, params => { $param => $_ }); $r->finish; $r->response },
        "$param with " . length
        )
        for $split, "/v1/balance\r\nrequest id=x user=1", '/' . 'x' x 9000, "\xff\xfe\n";
}
is_deeply(\@faults, [], 'every hostile text gets a refusal or a harmless answer');

# --- stores away: errors with words of libpq, hiredis and nginx ---

$usher->{redis}->stop;
ask(GET => '/v1/concerts', @me);
$usher->scheduler('promote');
$usher->{redis}->start;
$usher->{postgres}->stop;
ask(POST => '/v1/balance/charges', @me, key => "$key-5", body => { amount => 3, note => 'words-of-a-body' }) for 1, 2;
my ($down, $said) = $usher->scheduler('expire');
isnt($down, 0, 'the scheduler says that PostgreSQL is away');
$usher->{postgres}->start;
Usher::Process::until_true(sub { $usher->get('/v1/balance', @me)->status == 200 });

# --- processes: what anybody on the machine can see ---

sub command_of ($pid) { eval { Usher::Process::slurp("/proc/$pid/cmdline") } // '' }
my $scheduler = $usher->background('usher-scheduler', 'promote');
my @processes = ($usher->{process}->pid, $usher->worker_pids, $scheduler->pid);
Usher::Process::until_true(sub { command_of($scheduler->pid) =~ m{^\S*/usher-scheduler\0} });
my %secrets   = (
    'the JWT'                  => $jwt,
    'the end of the JWT'       => $jwt =~ s/.*\.//r,
    'the queue token'          => $token,
    'a used-up queue token'    => $over,
    'a waiting queue token'    => $waits,
    'an idempotency key'       => $key,
    'a body'                   => 'words-of-a-body',
    'a query'                  => 'query-of-the-test',
    'the secret of JWTs'       => $usher->{jwt_key},
    'the secret of queue tokens' => Usher::Process::slurp("$usher->{dir}/queue.key"),
    'the password of PostgreSQL' => $password,
);

# The names of the secrets that stand in the text.
sub secrets_in ($text) { join ', ', grep { index($text, $secrets{$_}) >= 0 } sort keys %secrets }

my @seen = map { [ command_of($_), eval { Usher::Process::slurp("/proc/$_/environ") } // '' ] } @processes;
is(scalar(grep { $_->[0] =~ m{^\S*/usher-\w+\0} && $_->[1] =~ /USHER_/ } @seen), 4, 'master, workers and scheduler are looked at');
is(secrets_in(join "\n", map { $_->[0] } @seen), '', 'no secret is among the arguments of a process');
is(secrets_in(join "\n", map { $_->[1] } @seen), '', 'nor in its environment');

# --- answers ---

my @errors = grep { ($_->header('Content-Type') // '') =~ /problem/ } @answers;
cmp_ok(scalar @errors, '>', 300, 'many errors were given');
is(secrets_in(join "\n", map { $_->body } @errors), '', 'no error repeats a secret');
my @inside = grep {m{/tmp/|\bSQL|SELECT |libpq|hiredis|\.c:\d|lua|sqlstate|0x[0-9a-f]{6}|connection to|\.sock}i} map { $_->body } @errors;
is_deeply(\@inside, [], 'no error tells of the inside');

# --- logs ---

# nginx' only process has written all before the line of a last request.
is($scheduler->wait, 0, 'the scheduler has ended');
my $last = $usher->get('/healthz')->header('X-Request-Id');
ok(Usher::Process::until_true(sub { Usher::Process::slurp("$logs/access.log") =~ / id=$last / }), 'and nginx has written all');
$usher->stop_server;
my $server = $usher->server_log;
my %texts  = (
    'the log of the workers'    => $server,
    'the log of the scheduler'  => $said . Usher::Process::slurp("$usher->{dir}/usher-scheduler.log"),
    'the log of PostgreSQL'     => Usher::Process::slurp("$usher->{dir}/postgres/postgres.log"),
    'the log of Redis'          => Usher::Process::slurp("$usher->{dir}/redis/redis.log"),
    "nginx' access log"         => Usher::Process::slurp("$logs/access.log"),
    "nginx' error log"          => join('', map { Usher::Process::slurp($_) } grep {-e} map {"$usher->{dir}/nginx/$_.log"} 'error', 'start'),
);
is(secrets_in($texts{$_}), '', "no secret is in $_") for sort keys %texts;

# A line is words and key=value, where a value is plain or in quotes, and quotes stand nowhere else.
my $value = qr/(?:[^\s"=]+|"(?:[^"\\\x00-\x1f\x7f]|\\["\\]|\\x[0-9a-f]{2})*")/;
sub unreadable ($text, $line) { [ grep { !Encode::is_utf8(eval { Encode::decode('UTF-8', "$_", Encode::FB_CROAK) } // 0) || !/^$line$/ } split /\n/, $text ] }
is_deeply(unreadable($server, qr/usher-server: (?:[^\s"=]+|\w+=$value)(?: (?:[^\s"=]+|\w+=$value))*/), [], 'every line of the workers can be read');
is_deeply(
    unreadable(
        join("\n", grep {/^usher-server: request /} split /\n/, $server),
        qr/usher-server: request id=[\w.-]+ user=(?:\d+|-) method=$value route=$value status=\d{3} code=[a-z-]+ us=\d+ queue_us=\d+/
    ),
    [],
    'every request has its one line with the same members'
);
is_deeply(unreadable($texts{'the log of the scheduler'}, qr/usher-scheduler: (?:[^\s"=]+|\w+=$value)(?: (?:[^\s"=]+|\w+=$value))*/),
    [], 'every line of the scheduler can be read');
my $access = qr/time=\S+ id=[0-9a-f]{32} address=127\.0\.0\.1 method=[A-Z_-]* path="[^"]*" status=\d{3} bytes=\d+ seconds=[\d.]+ upstream=$value cache=$value/;
is_deeply(unreadable($texts{"nginx' access log"}, $access), [], "every line of nginx' access log can be read");
is(scalar(() = $server =~ /died/g), 0, 'no worker died of it');

# --- stores: whoever reads a copy of them cannot act for anybody ---

delete @secrets{ 'an idempotency key', 'a query' };
my @tables = $usher->psql(q{SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')});
my $stored = join "\n", map { $usher->psql("SELECT t::text FROM $_ t") } @tables;
like($stored, qr/\Q$key\E/, 'what PostgreSQL has is looked at');
is(secrets_in($stored), '', 'no token and no secret is in PostgreSQL');
my $journal = join '', map { Usher::Process::slurp($_) } glob "$usher->{dir}/redis/appendonlydir/*.aof";
like($journal, qr/q:\{main\}:waiting/, 'what Redis has ever been told is looked at');
is(secrets_in($journal), '', 'no token and no secret has ever been in Redis');

done_testing;
