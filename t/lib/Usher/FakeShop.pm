# Usher::FakeShop: a tiny HTTP server in a child process that plays usher, well or badly: with it a test shows that the dress
# rehearsal notices what a broken server does.
#
#   my $shop = Usher::FakeShop->new(fault => 'seat-twice');   $shop->url;   $shop->stop;
#
# Faults: seat-twice (sells the same seat to everybody), overtaking (the last in the line is let in first), money (a payment
# takes one won too many), internal (a payment is answered with 500), html (a payment is answered with a page),
# closed (every third connection is closed without an answer), busy (every second answer is a 503), '' (none).
package Usher::FakeShop;
use v5.36;
use IO::Select;
use IO::Socket::INET;
use JSON::PP    ();
use MIME::Base64 ();
use POSIX       ();

my $json = JSON::PP->new->canonical;

sub new ($class, %o) {
    my $self = bless { seats => 10, fault => '', tickets => 0, queue => [], places => {}, holds => {}, taken => {}, %o }, $class;
    $self->{listener} = IO::Socket::INET->new(Listen => 128, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "listen: $!\n";
    $self->{pid} = fork // die "fork: $!\n";
    if (!$self->{pid}) {
        $SIG{$_} = 'DEFAULT' for qw(TERM INT);
        $SIG{PIPE} = 'IGNORE';
        eval { $self->_serve; 1 } or print STDERR "the fake shop died: $@";
        POSIX::_exit(1);
    }
    return $self;
}

sub url ($self) { 'http://127.0.0.1:' . $self->{listener}->sockport }

sub stop ($self) {
    my $pid = delete $self->{pid} or return;
    kill 'TERM', $pid;
    local $?;
    waitpid $pid, 0;
}
sub DESTROY ($self) { $self->stop }

sub _serve ($self) {
    my $select = IO::Select->new($self->{listener});
    my (%input, $accepted);
    while (1) {
        for my $socket ($select->can_read) {
            if ($socket == $self->{listener}) {
                my $client = $socket->accept or next;
                $select->add($client) if $self->{fault} ne 'closed' || ++$accepted % 3;
                next;
            }
            my $got = sysread $socket, $input{$socket}, 65536, length($input{$socket} // '');
            if (!$got) {
                $select->remove($socket);
                delete $input{$socket};
                close $socket;
                next;
            }
            while ($input{$socket} =~ s/^(.*?)\r\n\r\n//s) {
                my ($head, $body) = ($1, '');
                ($body, $input{$socket}) = unpack "a$1 a*", $input{$socket} if $head =~ /^Content-Length: (\d+)/mi;
                syswrite $socket, $self->_answer($head, $body);
            }
        }
    }
}

sub _answer ($self, $head, $body) {
    my ($method, $path) = $head =~ m{^(\S+) ([^ ?]+)};
    my ($user)  = $head =~ /^Authorization: Bearer \S+?\.([^.]+)\./m;
    my ($token) = $head =~ /^Queue-Token: (\S+)/m;
    if (defined $user) {
        ($user) = MIME::Base64::decode_base64($user =~ tr{-_}{+/}r) =~ /"sub":"(\d+)"/;
    }
    my @answer
        = $self->{fault} eq 'busy' && ++$self->{requests} % 2
        ? (503, { code => 'unavailable' })
        : $self->_route("$method $path", $user // 0, $token // '', $body ? $json->decode($body) : {});
    my ($status, $content) = @answer;
    my $text = ref $content ? $json->encode($content) : $content;
    return "HTTP/1.1 $status Fake\r\nRetry-After: 0\r\nContent-Length: " . length($text) . "\r\n\r\n$text" if $status != 204;
    return "HTTP/1.1 204 Fake\r\n\r\n";
}

sub _route ($self, $route, $user, $token, $body) {
    return (200, $self->_line) if $route eq 'GET /v1/queue';
    return $self->_join($user) if $route eq 'POST /v1/queue/tokens';
    return $self->_poll($token) if $route eq 'GET /v1/queue/tokens/me';
    return (204, '') if $route eq 'DELETE /v1/queue/tokens/me';
    return (200, { items => [ { id => 1, name => 'Fake', description => '' } ], page => 0, size => 100, total => 1 })
        if $route eq 'GET /v1/concerts';
    return (200, { items => [ { id => 1, concert_id => 1, seats_total => $self->{seats}, seats_available => $self->_free } ] })
        if $route eq 'GET /v1/concerts/1/schedules';
    return (200, $self->_list) if $route eq 'GET /v1/schedules/1/seats';
    return $self->_hold($user, $body) if $route eq 'POST /v1/reservations';
    return (201, { id => 1, amount => $body->{amount}, balance => $self->{balance}{$user} += $body->{amount}, currency => 'KRW' })
        if $route eq 'POST /v1/balance/charges';
    return $self->_pay($user, $body) if $route eq 'POST /v1/payments';
    return (404, { code => 'not-found' });
}

sub _line ($self) {
    return {
        state  => 'open', serving => 0, issued => $self->{tickets}, waiting => 0, active => 0, active_max => 100,
        rate_per_second => 10.5, updated_at => '2026-01-01T00:00:00Z',
    };
}

sub _place ($self, $ticket, $active) {
    return {
        token    => "t$ticket", status => $active ? 'active' : 'waiting', ticket => $ticket,
        position => $active ? 0 : $ticket, poll_after_seconds => 1,
    };
}

# Everybody waits once; then in is who asks, or, when overtaking, who has an even ticket.
sub _join ($self, $user) {
    my $ticket = ++$self->{tickets};
    return (201, $self->_place($ticket, $ticket == 1));
}

sub _poll ($self, $token) {
    my $ticket = 0 + substr $token, 1;
    my $polls  = ++$self->{polls}{$ticket};
    return (200, $self->_place($ticket, $self->{fault} ne 'overtaking' || $ticket % 2 == 0 || $polls > 2));
}

sub _free ($self) { $self->{seats} - ($self->{fault} eq 'seat-twice' ? 0 : keys %{ $self->{taken} }) }

sub _list ($self) {
    my @free = grep { $self->{fault} eq 'seat-twice' || !$self->{taken}{$_} } 1 .. $self->{seats};
    @free = $free[0] if $self->{fault} eq 'seat-twice';
    my $items = join ',', map {qq({"id":$_,"location":"A$_","price":100,"status":"available"})} @free;
    return qq({"schedule_id":1,"version":"1","items":[$items]});
}

sub _hold ($self, $user, $body) {
    my @seats = @{ $body->{seat_ids} };
    return (409, { code => 'seat-unavailable', conflicting_seat_ids => \@seats })
        if $self->{fault} ne 'seat-twice' && grep { $self->{taken}{$_} } @seats;
    $self->{taken}{$_} = 1 for @seats;
    my $id = ++$self->{reservations};
    $self->{holds}{$id} = 100 * @seats;
    return (
        201,
        {   id      => $id, schedule_id => 1, status => 'held', total_price => 100 * @seats, expires_in_seconds => 300,
            tickets => [ map { { id => $_, seat_id => $_, location => "A$_", price => 100 } } @seats ],
        }
    );
}

sub _pay ($self, $user, $body) {
    return (500, { code => 'internal' }) if $self->{fault} eq 'internal';
    return (200, '<html>It works!</html>') if $self->{fault} eq 'html';
    my $price = $self->{holds}{ $body->{reservation_id} };
    $self->{balance}{$user} -= $price + ($self->{fault} eq 'money');
    return (
        201,
        {   id => $body->{reservation_id}, reservation_id => $body->{reservation_id}, price => $price,
            balance => $self->{balance}{$user}, currency => 'KRW',
        }
    );
}

1;
