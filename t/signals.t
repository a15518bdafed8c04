# What signals, deaths and lost clients do to the workers: no request is cut short, none fails during a reload, nothing stays
# behind. systemd's side of it (sd_notify, the watchdog, passed sockets) is played by this test.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(SOCK_DGRAM);
use Storable ();
use Test::More;
use Time::HiRes qw(time);
use Usher::Check;
use Usher::Process;
use Usher::Stack;

use constant { OUTQ => 0x5411, TERM_BIT => 1 << 14, WATCHDOG_US => 400_000 };

my $notify_dir = File::Temp->newdir;
my $notify     = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$notify_dir/notify", Blocking => 0) or die "notify: $!\n";

my $usher = Usher::Stack->new(
    workers => 1,
    env     => { NOTIFY_SOCKET => "$notify_dir/notify", WATCHDOG_USEC => WATCHDOG_US },
);
my $master = $usher->{process};
my $conf   = Usher::Process::slurp($usher->{conf});

# --- looking ---

# [time, text] of the messages that have come since the last look.
sub messages () {
    my @got;
    while (defined $notify->recv(my $text, 4096)) { push @got, [ time, $text ] }
    return @got;
}

# Waits until a message matches; true when it came.
sub told ($pattern, $seconds = 10) {
    return Usher::Process::until_true(sub { scalar grep { $_->[1] =~ $pattern } messages() }, $seconds);
}

sub workers ()         { my @pids = sort { $a <=> $b } $master->children; return @pids }
sub gone ($pid)        { !-e "/proc/$pid" }

# What the server has logged since this offset.
sub logged ($from = 0) { substr $usher->server_log, $from }
sub log_end ()         { length $usher->server_log }

sub until_logged ($from, $pattern, $seconds = 15) {
    return Usher::Process::until_true(sub { logged($from) =~ $pattern }, $seconds);
}

# Waits until there are count workers, none of them one of the old ones; their process ids, or nothing.
sub until_replaced ($count, @old) {
    my %old = map { $_ => 1 } @old;
    my $new = Usher::Process::until_true(sub { my @now = workers(); @now == $count && !grep({ $old{$_} } @now) && \@now }, 20);
    return @{ $new // [] };
}

sub balance ($user)   { $usher->fcgi(GET => '/v1/balance', user => $user)->json->{balance} }
sub configure (%more) { Usher::Process::spew($usher->{conf}, join '', $conf, map {"$_ = $more{$_}\n"} sort keys %more) }

# Opens a charge over the workers' socket, sends a part of its body and returns when a worker has read that.
sub half_charge ($user, $body, $part = length($body) / 2, $length = length $body) {
    my $request = $usher->fcgi_open(POST => '/v1/balance/charges', user => $user, key => $usher->new_key, raw => $body, length => $length);
    $request->send(substr $body, 0, $part);
    Usher::Process::until_true(sub { my $left = pack 'i', 0; ioctl $request->{socket}, OUTQ, $left; !unpack 'i', $left })
        or die "no worker reads the request\n";
    return $request;
}

# Complete requests that wait in the socket's queue while the workers are busy.
sub queue_up ($count) {
    my @requests = map { $usher->fcgi_open(GET => '/healthz') } 1 .. $count;
    $_->finish for @requests;
    return @requests;
}

sub all_answered ($name, @requests) {
    my @statuses = map { my $response = $_->response; $response ? $response->status : 'none' } @requests;
    is_deeply(\@statuses, [ (200) x @requests ], $name);
}

sub term_pending ($pid) {
    my $status = eval { Usher::Process::slurp("/proc/$pid/status") } // '';
    return grep { hex($_) & TERM_BIT } $status =~ /^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)/mg;
}

# --- load: people who read and charge over nginx, one after the other, until told to stop ---

sub start_load ($clients) {
    my $stop = "$notify_dir/stop";
    unlink $stop;
    return { stop => $stop, clients => [ map { load_client($_, $stop) } 1 .. $clients ] };
}

sub load_client ($number, $stop) {
    my $file = "$notify_dir/result.$number";
    my $pid  = fork // die "fork: $!\n";
    return { pid => $pid, file => $file } if $pid;
    my %result = (user => 1000 + $number, statuses => {}, charged => 0);
    until (-e $stop) { one_person(\%result) }
    Storable::nstore(\%result, $file);
    POSIX::_exit(0);
}

sub one_person ($result) {
    my $user     = $result->{user};
    my @requests = (
        [ GET  => '/healthz' ],
        [ GET  => '/v1/balance',         user => $user ],
        [ POST => '/v1/balance/charges', user => $user, key => $usher->new_key, body => { amount => 1 } ],
    );
    for my $request (@requests) {
        my $response = eval { $usher->request(@$request) };
        my $status   = $response ? $response->status : 'none';
        $result->{statuses}{$status}++;
        $result->{charged}++ if $status eq '201';
    }
}

# Ends the load: (statuses with their counts, how many charges were answered with 201 by user).
sub stop_load ($load) {
    my (%statuses, %charged);
    Usher::Process::spew($load->{stop}, '');
    for my $client (@{ $load->{clients} }) {
        waitpid $client->{pid}, 0;
        my $result = Storable::retrieve($client->{file});
        $statuses{$_} += $result->{statuses}{$_} for keys %{ $result->{statuses} };
        $charged{ $result->{user} } = $result->{charged};
    }
    return (\%statuses, \%charged);
}

sub load_under_way ($load, $name) {
    my $from = log_end();
    ok(until_logged($from, qr/(?:status=201.*\n[^\x00]*?){8}/), $name);
}

sub balances_are ($charged, $before, $name) {
    my %now = map { $_ => balance($_) - ($before->{$_} // 0) } keys %$charged;
    is_deeply(\%now, $charged, $name);
}

# --- the tests ---

subtest 'systemd hears that the workers answer' => sub {
    ok(told(qr/^READY=1$/m),    'READY=1 once all workers are ready');
    ok(told(qr/^WATCHDOG=1$/m), 'WATCHDOG=1 while they answer');
    is(scalar workers(), 1, 'as many workers as configured');
};

subtest 'TERM in the middle of a body' => sub {
    my ($worker) = workers();
    my $from    = log_end();
    my $request = half_charge(1, '{"amount": 700}');
    my @waiting = queue_up(20);
    kill TERM => $worker;
    ok(Usher::Process::until_true(sub { term_pending($worker) }), 'the signal waits while the body is read');
    $request->send(substr '{"amount": 700}', 7);
    $request->finish;
    status_is($request->response, 201, 'the request is answered as if nothing had happened');
    all_answered('so are those who waited', @waiting);
    ok(until_logged($from, qr/worker ended pid=$worker\n[^\x00]*route=\S*healthz/), 'the worker ended before it could answer all of them');
    is(scalar until_replaced(1, $worker), 1,   'and another takes its place');
    is(balance(1),                        700, 'the whole amount was charged');
};

subtest 'QUIT and TERM reach an idle worker at once' => sub {
    for my $signal (qw(QUIT TERM)) {
        my ($worker) = workers();
        kill $signal => $worker;
        is(scalar until_replaced(1, $worker), 1, "$signal: replaced");
    }
    my ($worker) = workers();
    kill $_ => $worker for qw(HUP USR1 INT);
    status_is($usher->fcgi(GET => '/healthz'), 200, 'HUP, USR1 and INT to a worker do nothing');
    is_deeply([ workers() ], [$worker], 'it is still the same');
};

subtest 'a body that is not what was announced never reaches its handler' => sub {
    my $body  = '{"amount": 500}';
    my @cases = (
        [ 'the client closes in the middle of the body', $body, 7,            length $body,      0 ],
        [ 'the client closes before the end of the stream', $body, length $body, length $body,      0 ],
        [ 'the body ends early',                            $body, length $body, 5 + length $body, 1 ],
        [ 'the body is longer',                             $body, length $body, length($body) - 1, 1 ],
    );
    for my $case (@cases) {
        my ($name, $text, $part, $length, $finish) = @$case;
        my $from = log_end();
        unchanged_ok($usher, "$name: nothing changed", sub {
            my $request = half_charge(2, $text, $part, $length);
            if ($finish) {
                $request->finish;
                status_is($request->response, 400, "$name: 400");
            } else {
                $request->close;
            }
            ok(until_logged($from, qr/ status=400 code=invalid-request /), "$name: logged as refused");
        });
    }
    is(scalar workers(), 1, 'the worker lives on');
};

subtest 'what is no request harms nobody' => sub {
    my ($worker) = workers();
    for my $bytes ('', "GET / HTTP/1.0\r\n\r\n", "\1\1\0\1\0\10\0\0", "\x00" x 4096) {
        my $socket = Usher::Http::connect_to($usher->{socket});
        syswrite $socket, $bytes;
        close $socket;
    }
    status_is($usher->fcgi(GET => '/healthz'), 200, 'the next request is answered');
    is_deeply([ workers() ], [$worker], 'by the same worker');
};

subtest 'HUP under load' => sub {
    my $load = start_load(4);
    load_under_way($load, 'people are being served');
    configure(workers => 2);
    for my $round (1 .. 4) {
        my @old = workers();
        messages();
        $master->signal('HUP');
        is(scalar until_replaced(2, @old), 2, "reload $round: two new workers, the old ones have ended");
        ok(told(qr/^READY=1$/m), "reload $round: systemd knows");
        load_under_way($load, "reload $round: people are being served");
    }
    my ($statuses, $charged) = stop_load($load);
    is_deeply([ sort keys %$statuses ], [ 200, 201 ], 'not one request failed') or diag explain $statuses;
    balances_are($charged, {}, 'each charge that was answered was made, and no other');
};

subtest 'a reload that cannot work changes nothing' => sub {
    my @old  = workers();
    my $from = log_end();
    Usher::Process::spew($usher->{conf}, "$conf\nworkers = none\n");
    $master->signal('HUP');
    ok(until_logged($from, qr/reload refused.*workers/), 'a bad value: refused, the log names the key');
    configure(workers => 2, queue_key_file => '/nonexistent/queue.key');
    $master->signal('HUP');
    ok(until_logged($from, qr/reload given up/), 'workers that cannot start: given up');
    like(logged($from), qr{/nonexistent/queue\.key}, 'the log says why');
    status_is($usher->fcgi(GET => '/healthz'), 200, 'requests are answered');
    ok(Usher::Process::until_true(sub { "@{[ workers() ]}" eq "@old" }), 'by the same workers');
    configure(workers => 2);
};

subtest 'a worker killed with -9 is replaced' => sub {
    my ($first, $second) = workers();
    kill KILL => $first;
    my $others = Usher::Process::until_true(sub { my @now = workers(); @now == 2 && $now[1] != $first && $now[0] != $first && \@now });
    ok($others && grep({ $_ == $second } @$others), 'one new, the other untouched');
    like(logged(), qr/worker died pid=$first signal=9/, 'the log tells of it');
    status_is($usher->get('/healthz'), 200, 'requests are answered');
};

subtest 'workers that die young are started again ever more slowly' => sub {
    my $from = log_end();
    my $key  = "$usher->{dir}/queue.key";
    rename $key, "$key.away" or die "$key: $!\n";
    kill KILL => workers();
    ok(until_logged($from, qr/starts in 200 ms[^\x00]*starts in 400 ms/), '200 ms, then 400 ms');
    messages();
    ok(until_logged($from, qr/starts in 800 ms/), 'then 800 ms');
    is(scalar grep({ $_->[1] =~ /WATCHDOG/ } messages()), 0, 'meanwhile systemd hears no WATCHDOG=1');
    rename "$key.away", $key or die "$key: $!\n";
    ok(Usher::Process::until_true(sub { until_replaced(2) && $usher->_healthy }), 'they answer again once the cause is gone');
    ok(told(qr/^WATCHDOG=1$/m), 'and WATCHDOG=1 comes again');
};

subtest 'frozen workers are replaced' => sub {
    my @old = workers();
    configure(workers => 2, statement_timeout => '100ms', lock_timeout => '100ms', redis_timeout => '50ms');
    $master->signal('HUP');
    my @frozen = until_replaced(2, @old);
    my $from   = log_end();
    messages();
    kill STOP => @frozen;
    my @heard;
    Usher::Process::until_true(sub { push @heard, messages(); (() = logged($from) =~ /worker stuck/g) == 2 }, 15);
    my $killed = time;
    like(logged($from), qr/worker stuck pid=$_:/, "worker $_ was seen to be stuck") for @frozen;
    my @fed = map { $_->[0] } grep { $_->[1] =~ /WATCHDOG/ } @heard;
    ok(!@fed || $killed - $fed[-1] > 2 * WATCHDOG_US / 1e6, 'systemd heard no WATCHDOG=1 while none answered');
    is(scalar until_replaced(2, @frozen), 2, 'two others took their places');
    status_is($usher->get('/healthz'), 200, 'requests are answered');
    ok(told(qr/^WATCHDOG=1$/m), 'and WATCHDOG=1 comes again');
    configure(workers => 2);
    $master->signal('HUP');
    ok(told(qr/^READY=1$/m), 'back to the ordinary configuration');
};

subtest 'a second server on the same socket is refused' => sub {
    my ($status, undef, $error) = Usher::Process::run({}, $usher->build . '/usher-server', '-c', $usher->{conf});
    is($status, 1, 'exit status 1');
    like($error, qr/\Q$usher->{socket}\E is in use.*running/, 'and a clear message');
    status_is($usher->fcgi(GET => '/healthz'), 200, 'the first one goes on');
};

subtest 'TERM to the master under load' => sub {
    my %before = map { $_ => balance($_) } 1001 .. 1004;
    my $load   = start_load(4);
    load_under_way($load, 'people are being served');
    my @begun   = map { half_charge(3, '{"amount": 30}') } 1 .. 2;
    my @waiting = queue_up(20);
    my @old     = workers();
    messages();
    $master->signal('TERM');
    ok(told(qr/^STOPPING=1$/m), 'systemd hears STOPPING=1');
    for my $request (@begun) {
        $request->send(substr '{"amount": 30}', 7);
        $request->finish;
        status_is($request->response, 201, 'a request that had begun is answered');
    }
    all_answered('so are those who waited in the queue', @waiting);
    is($master->wait(15), 0, 'exit status 0');
    is_deeply([ grep { !gone($_) } @old ], [], 'no worker is left');
    ok(!-e $usher->{socket}, 'nor the socket');
    my ($statuses, $charged) = stop_load($load);
    is_deeply([ grep { !/^(?:200|201|503)$/ } keys %$statuses ], [], 'people saw an answer or 503, nothing else')
        or diag explain $statuses;
    ok($statuses->{503}, 'and 503 in the end');
    unlike($usher->server_log, qr/did not end/, 'nobody had to be killed');
    $master = $usher->start_server;
    balances_are($charged, \%before, 'each charge that was answered was made, and no other');
    is(balance(3), 60, 'also those that had begun');
};

subtest 'a socket left behind is replaced' => sub {
    $usher->kill_server;
    ok(-S $usher->{socket}, 'a server killed with -9 leaves its socket');
    $master = $usher->start_server;
    like(logged(), qr/removed stale socket/, 'the next one removes it');
    my @old = workers();
    $master->signal('KILL');
    ok(Usher::Process::until_true(sub { !grep { !gone($_) } @old }), 'workers end when their master is gone');
    $master = $usher->start_server;
};

# Starts a server of its own with these settings; its log is in the stack's folder.
sub another ($name, $before, @settings) {
    return Usher::Process->start(
        command => [ @$before, $usher->build . '/usher-server', '-c', $usher->{conf}, map { ('-o', $_) } @settings ],
        log     => "$usher->{dir}/$name.log",
    );
}

sub answers ($socket) {
    my $params = Usher::FastCgi::params(GET => '/healthz', [], undef);
    my $response = eval { my $request = Usher::FastCgi->open($socket, $params); $request->finish; $request->response };
    return $response && $response->status == 200;
}

subtest 'starting' => sub {
    my ($socket, $shop) = map {"$usher->{dir}/$_.sock"} qw(other express);
    my $server = another(start => [], "listen=$socket", "listen_shop=$shop");
    ok(Usher::Process::until_true(sub { -S $shop && answers($socket) && answers($shop) }), 'a server of its own answers at both sockets');
    is((stat $_)[2] & 07777, 0660, 'its socket has mode 0660') for $socket, $shop;
    is($server->stop, 0, 'TERM: exit status 0');

    for my $signal (qw(TERM INT QUIT)) {
        my $early = another("early$signal", [], "listen=$socket", "listen_shop=$shop");
        Usher::Process::until_true(sub { -S $shop });
        $early->signal($signal);
        is($early->wait(15), 0, "$signal while it starts: exit status 0");
        ok(!-e $_, 'and no socket is left') for $socket, $shop;
    }

    my $one = another(one => [], "listen=$socket", 'listen_shop=');
    ok(Usher::Process::until_true(sub { -S $socket && answers($socket) }), 'one socket is enough');
    is($one->stop, 0, 'TERM: exit status 0');

    my $same = another(same => [], "listen=$socket", "listen_shop=$socket");
    is(($same->wait // 0) >> 8, 1, 'one path for both: exit status 1');
    like(Usher::Process::slurp("$usher->{dir}/same.log"), qr/listen_shop must be empty or another path/, 'and the log says so');

    my $none = another(none => [], 'listen=', 'listen_shop=');
    is(($none->wait // 0) >> 8, 1, 'no path at all: exit status 1');
    like(Usher::Process::slurp("$usher->{dir}/none.log"), qr/listen must be a path/, 'and the log says which is missing');

    my $bad = another(bad => [], "listen=$socket", 'listen_shop=', 'queue_key_file=/nonexistent/queue.key');
    is(($bad->wait // 0) >> 8, 78, 'an unusable key file: exit status 78');
    like(Usher::Process::slurp("$usher->{dir}/bad.log"), qr{/nonexistent/queue\.key}, 'and the log names it');

    Usher::Process::spew("$usher->{dir}/file", 'precious');
    my $file = another(file => [], "listen=$socket", "listen_shop=$usher->{dir}/file");
    is(($file->wait // 0) >> 8, 1, 'a file where a socket should be: exit status 1');
    ok(!-e $socket, 'and no other socket is left');
    is(Usher::Process::slurp("$usher->{dir}/file"), 'precious', 'and it is not touched');
};

subtest 'sockets that systemd passes' => sub {
    my $launcher = q{
        use Socket; use POSIX ();
        my $count = shift;
        for my $fd (3 .. 2 + $count) {
            socket my $s, PF_UNIX, SOCK_STREAM, 0 or die $!;
            bind $s, pack_sockaddr_un(shift) and listen $s, 64 or die $!;
            POSIX::dup2(fileno $s, 20 + $fd);
        }
        POSIX::dup2(20 + $_, $_) for 3 .. 2 + $count;
        $^F = 2 + $count;
        POSIX::close($_) for 3 + $count .. 29;
        @ENV{qw(LISTEN_PID LISTEN_FDS)} = ($$, $count);
        exec @ARGV or die $!;
    };
    for my $count (1, 2) {
        my @passed = map {"$usher->{dir}/passed$count$_.sock"} 1 .. $count;
        my $own    = "$usher->{dir}/unused.sock";
        my $server = another("passed$count" => [ $^X, '-e', $launcher, $count, @passed ], "listen=$own", "listen_shop=$own");
        ok(Usher::Process::until_true(sub { -S $passed[0] && answers($passed[0]) }), "of $count: the server answers at the first")
            or diag Usher::Process::slurp("$usher->{dir}/passed$count.log");
        ok(answers($_), 'and at the second') for @passed[ 1 .. $#passed ];
        ok(!-e $own,    'and makes none of its own');
        my ($worker) = $server->children;
        my @open = map { readlink("/proc/$worker/fd/$_") // () } grep {/^\d+$/ && $_ > 2} map { m{([^/]+)$} } glob "/proc/$worker/fd/*";
        is(scalar grep({/^socket:/} @open), $count, 'a worker has no other socket open') or diag explain \@open;
        is($server->stop, 0, 'TERM: exit status 0');
        is(scalar grep({-S} @passed), $count, 'and they are left to systemd');
    }
    my $third = another(third => [ $^X, '-e', $launcher, 3, map {"$usher->{dir}/third$_.sock"} 1 .. 3 ]);
    is(($third->wait // 0) >> 8, 1, 'three sockets: exit status 1');
    like(Usher::Process::slurp("$usher->{dir}/third.log"), qr/systemd passes 3 sockets: .* at most 2/, 'and the log says what is wrong');
};

done_testing;
