# Usher::FastCgi: a FastCGI client for the workers' unix sockets, so that a test can send what nginx never would.
package Usher::FastCgi;
use v5.36;
use Usher::Http;

use constant { TYPE_BEGIN => 1, TYPE_END => 3, TYPE_PARAMS => 4, TYPE_STDIN => 5, TYPE_STDOUT => 6 };

sub _record ($type, $content) { pack('C C n n C C', 1, $type, 1, length $content, 0, 0) . $content }

# A stream in records of at most 32 KiB; the empty record that ends it is not included.
sub _stream ($type, $content) {
    join '', map { _record($type, $_) } unpack '(a32768)*', $content;
}

sub _pair ($name, $value) {
    return pack('(a*)*',
        map { length $_ < 128 ? pack('C', length $_) : pack('N', length($_) | 0x8000_0000) } $name, $value)
        . $name
        . $value;
}

# What nginx would pass for this request.
sub params ($method, $target, $headers, $length) {
    my (undef, $query) = split /\?/, $target, 2;
    my %params = (
        REQUEST_METHOD    => $method,
        REQUEST_URI       => $target,
        QUERY_STRING      => $query // '',
        SERVER_PROTOCOL   => 'HTTP/1.1',
        GATEWAY_INTERFACE => 'CGI/1.1',
        CONTENT_LENGTH    => $length // '',
        CONTENT_TYPE      => '',
        REMOTE_ADDR       => '127.0.0.1',
    );
    for (my $i = 0; $i < @$headers; $i += 2) {
        my $name = uc $headers->[$i] =~ tr/-/_/r;
        $params{ $name eq 'CONTENT_TYPE' ? $name : "HTTP_$name" } = $headers->[ $i + 1 ];
    }
    return \%params;
}

# Opens a request; the body goes by send, its end by finish, the answer comes by response. Or just close.
sub open ($class, $path, $params) { $class->over(Usher::Http::connect_to($path), $params) }

# The same on a connection that is there.
sub over ($class, $socket, $params) {
    my $self = bless { socket => $socket, method => $params->{REQUEST_METHOD} }, $class;
    $self->_write(
        _record(TYPE_BEGIN, pack 'n C x5', 1, 0)
            . _stream(TYPE_PARAMS, join '', map { _pair($_, $params->{$_}) } sort keys %$params)
            . _record(TYPE_PARAMS, '')
    );
    return $self;
}

sub _write ($self, $bytes) {
    my $sent = 0;
    while ($sent < length $bytes) {
        $sent += syswrite($self->{socket}, $bytes, length($bytes) - $sent, $sent) // return;
    }
}

sub send   ($self, $bytes) { $self->_write(_stream(TYPE_STDIN, $bytes)) }
sub finish ($self)         { $self->_write(_record(TYPE_STDIN, '')) }
sub close  ($self)         { CORE::close $self->{socket} }

# The answer as an Usher::Response; undef when the connection ended without one.
sub response ($self, $seconds = 20) {
    my $raw = Usher::Http::read_all($self->{socket}, $seconds);
    my ($out, $ended) = ('', 0);
    while (length $raw >= 8) {
        my (undef, $type, undef, $length, $padding) = unpack 'C C n n C', $raw;
        my $content = substr $raw, 8, $length;
        $raw = length $raw >= 8 + $length + $padding ? substr $raw, 8 + $length + $padding : '';
        $out .= $content if $type == TYPE_STDOUT;
        $ended = 1 if $type == TYPE_END;
    }
    return $ended && length $out ? Usher::Response->parse($out, $self->{method}) : undef;
}

1;
