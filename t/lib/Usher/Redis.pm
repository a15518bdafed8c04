# Usher::Redis: a private Redis on a unix socket. Debian's redis-tools carries the server under the name redis-check-rdb:
# started through a link named redis-server it is the server.
package Usher::Redis;
use v5.36;
use Usher::Process;

sub new ($class, %o) {
    my $self   = bless { %o, socket => "$o{dir}/redis.sock" }, $class;
    my $server = Usher::Process::find_program('redis-server');
    if (!$server) {
        my $real = Usher::Process::find_program('redis-check-rdb') // die "no Redis on this machine: run ./dev deps\n";
        $server = "$o{dir}/redis-server";
        symlink $real, $server or die "$server: $!\n";
    }
    $self->{server} = $server;
    return $self->start;
}

# Starts with what its append-only file has kept.
sub start ($self) {
    $self->{process} = Usher::Process->start(
        command => [
            $self->{server}, qw(--port 0 --unixsocket), $self->{socket}, qw(--unixsocketperm 777 --dir), $self->{dir},
            '--save', '', qw(--appendonly yes --appendfsync no --maxmemory-policy noeviction --databases 1)
        ],
        log => "$self->{dir}/redis.log",
        dir => $self->{dir},
    );
    Usher::Process::until_true(sub { -S $self->{socket} && ($self->command('PING') // '') eq 'PONG' })
        or die "Redis does not start:\n" . Usher::Process::slurp("$self->{dir}/redis.log");
    return $self;
}

sub stop ($self) { $self->{process}->stop }

# One command through redis-cli; the lines of the answer, in scalar context the first one.
sub command ($self, @command) {
    my ($status, $out) = Usher::Process::run({}, 'redis-cli', '-s', $self->{socket}, '--raw', @command);
    my @lines = $status == 0 ? split(/\n/, $out) : ();
    return wantarray ? @lines : $lines[0];
}

1;
