# Usher::Http: a small HTTP client that sends exactly the bytes a test asks for, and the response as a value.
package Usher::Http;
use v5.36;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Time::HiRes qw(time);

# The bytes of a request. Headers: an array of names and values, sent as they are; the body may be undef.
sub bytes ($method, $target, $headers, $body) {
    my @lines = ("$method $target HTTP/1.1");
    for (my $i = 0; $i < @$headers; $i += 2) {
        push @lines, "$headers->[$i]: $headers->[$i + 1]";
    }
    push @lines, 'Content-Length: ' . length $body
        if defined $body && !grep {/^(?:Content-Length|Transfer-Encoding)$/i} @$headers;
    return join("\r\n", @lines, 'Connection: close', '', '') . ($body // '');
}

# address: "127.0.0.1:8080" or the path of a unix socket.
sub connect_to ($address) {
    my $socket
        = $address =~ m{^/}
        ? IO::Socket::UNIX->new(Peer     => $address)
        : IO::Socket::INET->new(PeerAddr => $address, Timeout => 5);
    die "connect to $address: $!\n" if !$socket;
    binmode $socket;
    return $socket;
}

# Everything that comes until the other side closes, at most so many seconds.
sub read_all ($socket, $seconds = 20) {
    my ($select, $end, $data) = (IO::Select->new($socket), time + $seconds, '');
    while ((my $left = $end - time) > 0) {
        $select->can_read($left) or next;
        my $got = sysread $socket, $data, 65536, length $data;
        return $data if !$got;
    }
    die "no complete answer within $seconds seconds\n";
}

# Sends the bytes (in pieces, since a refusal may come before the end of them) and reads the answer.
sub exchange ($socket, $bytes, $method = 'GET') {
    my $sent = 0;
    while ($sent < length $bytes) {
        my $n = syswrite $socket, $bytes, 16384, $sent;
        last if !defined $n;
        $sent += $n;
    }
    return Usher::Response->parse(read_all($socket), $method);
}

package Usher::Response;
use JSON::PP ();

# Parses "HTTP/1.1 200 OK" answers and CGI ones that begin with "Status: 200".
sub parse ($class, $text, $method = 'GET') {
    my ($head, $body) = split /\r?\n\r?\n/, $text, 2;
    my @lines  = split /\r?\n/, $head // '';
    my $status = 0;
    $status = $1 if @lines && $lines[0] =~ m{^HTTP/1\.[01] (\d{3})} && shift @lines;
    my @headers = map { [/^([^:]+):[ \t]*(.*)$/] } @lines;
    my $self    = bless { status => 0 + $status, headers => \@headers, body => $body // '', method => $method }, $class;
    $self->{status} ||= 0 + substr $self->header('Status') // '0', 0, 3;
    $self->{body} = _unchunk($self->{body}) if ($self->header('Transfer-Encoding') // '') =~ /chunked/i;
    return $self;
}

sub _unchunk ($raw) {
    my $body = '';
    while ($raw =~ s/^([0-9a-fA-F]+)[^\r]*\r\n//) {
        my $size = hex $1;
        last if !$size;
        $body .= substr $raw, 0, $size;
        $raw = substr $raw, $size + 2;
    }
    return $body;
}

sub status ($self) { $self->{status} }
sub body   ($self) { $self->{body} }

# All values of a header joined with ", "; undef when there is none.
sub header ($self, $name) {
    my @values = map { $_->[1] } grep { lc($_->[0] // '') eq lc $name } @{ $self->{headers} };
    return @values ? join ', ', @values : undef;
}

# The decoded body; undef when it is not JSON.
sub json ($self) {
    $self->{json} //= eval { JSON::PP->new->utf8->decode($self->{body}) };
    return $self->{json};
}

1;
