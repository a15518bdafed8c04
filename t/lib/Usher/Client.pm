# Usher::Client: the requests of a test, as methods of Usher::Stack. Options of every request:
#   user => 7            Authorization with a good JWT of that user      jwt => TEXT    this bearer token instead
#   token => TEXT        Queue-Token                                     key => TEXT    Idempotency-Key
#   body => {...}        sent as application/json                        raw => TEXT    these bytes as the body
#   type => TEXT|undef   another Content-Type, or none                   headers => [name => value, ...]  also
package Usher::Client;
use v5.36;
use JSON::PP    ();
use Storable    ();
use Time::HiRes qw(sleep);
use Usher::FastCgi;
use Usher::Http;
use Usher::Jwt;

my $json = JSON::PP->new->canonical->utf8;

# jwt(user => 1): a good HS256 token. Others by alg, key (secret or private PEM), header => {...}, claims => {...} (undef
# removes a claim), or raw_claims => JSON text.
sub jwt ($self, %o) {
    my $algorithm = $o{alg} // 'HS256';
    my %claims    = (sub => "$o{user}", iat => $self->now, exp => $self->now + 3600, %{ $o{claims} // {} });
    delete $claims{$_} for grep { !defined $claims{$_} } keys %claims;
    return Usher::Jwt::make(
        { alg => $algorithm, typ => 'JWT', %{ $o{header} // {} } },
        $o{raw_claims} // \%claims, Usher::Jwt::signer($algorithm, $o{key} // $self->{jwt_key})
    );
}

# (headers, body) of a request with these options.
sub _parts ($self, %o) {
    my $body    = $o{raw} // (exists $o{body}  ? $json->encode($o{body})      : undef);
    my $jwt     = $o{jwt} // (defined $o{user} ? $self->jwt(user => $o{user}) : undef);
    my $type    = exists $o{type} ? $o{type} : defined $body ? 'application/json' : undef;
    my @headers = (
        (defined $jwt      ? (Authorization     => "Bearer $jwt") : ()),
        (defined $o{token} ? ('Queue-Token'     => $o{token})     : ()),
        (defined $o{key}   ? ('Idempotency-Key' => $o{key})       : ()),
        (defined $type     ? ('Content-Type'    => $type)         : ()),
        @{ $o{headers} // [] },
    );
    return (\@headers, $body);
}

# The bytes of a request over nginx.
sub _bytes ($self, $method, $path, %o) {
    my ($headers, $body) = $self->_parts(%o);
    $body = '' if !defined $body && $method =~ /^(?:POST|PUT|PATCH)$/;
    return Usher::Http::bytes($method, $path, [ Host => 'usher.test', @$headers ], $body);
}

# One request over nginx; an Usher::Response.
sub request ($self, $method, $path, %o) {
    return Usher::Http::exchange(Usher::Http::connect_to($self->address), $self->_bytes($method, $path, %o), $method);
}
sub get    ($self, $path, %o) { $self->request(GET    => $path, %o) }
sub head   ($self, $path, %o) { $self->request(HEAD   => $path, %o) }
sub post   ($self, $path, %o) { $self->request(POST   => $path, %o) }
sub delete ($self, $path, %o) { $self->request(DELETE => $path, %o) }

# Opens a request over the workers' socket; send the body with ->send and ->finish. length is the announced CONTENT_LENGTH.
sub fcgi_open ($self, $method, $path, %o) {
    my ($headers, $body) = $self->_parts(%o);
    my $params = Usher::FastCgi::params($method, $path, $headers, $o{length} // (defined $body ? length $body : undef));
    return Usher::FastCgi->open($self->{socket}, { %$params, %{ $o{params} // {} } });
}

# One request straight to a worker, past nginx.
sub fcgi ($self, $method, $path, %o) {
    my (undef, $body) = $self->_parts(%o);
    my $request = $self->fcgi_open($method, $path, %o);
    $request->send($body) if length $body // '';
    $request->finish;
    return $request->response;
}

# parallel([[method, path, options...], ...], spread => seconds): all at once over nginx, each from a process of its own that
# has connected before the starting signal (spread: each begins at a random moment within); the responses in the same order.
sub parallel ($self, $requests, %o) {
    pipe my $wait, my $go or die "pipe: $!\n";
    my @children = map { $self->_child($_, $wait, $go, $o{spread} // 0) } @$requests;
    close $wait;
    readline $_->{out} for @children;
    close $go;
    return map { $self->_collect($_) } @children;
}

sub _child ($self, $request, $wait, $go, $spread) {
    pipe my $out, my $in or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";
    return { pid => $pid, out => $out } if $pid && close $in;
    close $go;
    my $ok = eval {
        my $bytes  = $self->_bytes(@$request);
        my $socket = Usher::Http::connect_to($self->address);
        syswrite $in, "ready\n";
        sysread $wait, my $nothing, 1;
        sleep rand $spread if $spread;
        my $response = Usher::Http::exchange($socket, $bytes, $request->[0]);
        binmode $in;
        print {$in} Storable::nfreeze($response);
        close $in;
    };
    print STDERR "parallel request: $@" if !$ok;
    POSIX::_exit($ok ? 0 : 1);
}

sub _collect ($self, $child) {
    binmode $child->{out};
    my $frozen = do { local $/; readline $child->{out} };
    waitpid $child->{pid}, 0;
    die "a parallel request failed\n" if $?;
    return Storable::thaw($frozen);
}

# A place in the line for the user: the queue token.
sub join_line ($self, $user) {
    my $r = $self->post('/v1/queue/tokens', user => $user);
    die "POST /v1/queue/tokens: $r->{status} $r->{body}\n" if $r->status !~ /^20[01]$/;
    return $r->json->{token};
}

# Puts each user into the line and lets them in; their queue tokens.
sub admit ($self, @users) {
    my @tokens = map { $self->join_line($_) } @users;
    my $active = sub { $self->get('/v1/queue/tokens/me', token => $tokens[-1])->json->{status} eq 'active' };
    for (1 .. 20) {
        my ($status, $error) = $self->scheduler('promote');
        die "usher-scheduler promote: exit $status\n$error" if $status != 0;
        last if $active->();
    }
    die "nobody was admitted\n" if !$active->();
    return wantarray ? @tokens : $tokens[0];
}

my $keys = 0;

# A fresh Idempotency-Key.
sub new_key ($self) { sprintf 'key-%d-%d', $$, ++$keys }

# Puts money into the user's wallet; the balance after.
sub charge ($self, $user, $amount) {
    my $r = $self->post('/v1/balance/charges', user => $user, key => $self->new_key, body => { amount => $amount });
    die "POST /v1/balance/charges: $r->{status} $r->{body}\n" if $r->status != 201;
    return $r->json->{balance};
}

# Holds seats: the reservation body.
sub hold ($self, $user, $token, $schedule, @seats) {
    my $r = $self->post(
        '/v1/reservations',
        user  => $user,
        token => $token,
        body  => { schedule_id => 0 + $schedule, seat_ids => [ map { 0 + $_ } @seats ] }
    );
    die "POST /v1/reservations: $r->{status} $r->{body}\n" if $r->status != 201;
    return $r->json;
}

1;
