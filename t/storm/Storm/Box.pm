# Storm::Box: the box office of a storm: Usher::Stack as an operator would run it, so that everything can be killed and comes back
# as systemd would bring it back. The workers' sockets belong to the storm, as they would to usher.socket, and outlive the server;
# Redis writes its append-only file every second; PostgreSQL syncs. As root the data of both is on small file systems in memory of
# their own, which can be filled up.
package Storm::Box;
use v5.36;
use parent 'Usher::Stack';
use Fcntl;
use IO::Socket::UNIX;
use Usher::Process;

use constant { WORKERS => 6, REDIS_DISK => 256, POSTGRES_DISK => 2048 };    # MiB

my $owner = $$;
my @mounts;

sub new ($class, %o) {
    my $self = $class->SUPER::new(
        server => 0,
        nginx  => {},
        %o,
        workers  => WORKERS,
        postgres => "fsync = on\nfull_page_writes = on\nautovacuum = on\nmax_connections = 100\nshared_buffers = 128MB\n",
    );
    $self->redis('CONFIG', 'SET', 'appendfsync', 'everysec');
    $self->listen_sockets;
    $self->start_server;
    return $self;
}

# As root, and in a mount namespace of its own (storm.pl sees to that): file systems that can be filled.
sub _make_folders ($self) {
    $self->SUPER::_make_folders;
    return if !$ENV{USHER_STORM_MAY_MOUNT};
    my %size = (redis => REDIS_DISK, postgres => POSTGRES_DISK);
    for my $name (sort keys %size) {
        my @stat = stat "$self->{dir}/$name";
        Usher::Process::must(
            {}, 'mount', '-t', 'tmpfs', '-o', "size=$size{$name}m,uid=$stat[4],gid=$stat[5],mode=755", 'usher-storm',
            "$self->{dir}/$name"
        );
        push @mounts, "$self->{dir}/$name";
        $self->{disk}{$name} = { folder => "$self->{dir}/$name", size => $size{$name} * 1024 };
    }
}

# Blocks of 1 KiB in use and free.
sub _room ($self, $name) {
    my ($all, $free, $size) = split ' ', Usher::Process::must({}, qw(stat -f -c), '%b %f %S', $self->{disk}{$name}{folder});
    return map { $_ * $size / 1024 } $all - $free, $free;
}

sub _resize_disk ($self, $name, $size) {
    return (Usher::Process::run({}, 'mount', '-o', "remount,size=${size}k", $self->{disk}{$name}{folder}))[0] == 0;
}

# Leaves no room on it; false when something was written meanwhile, so that there is room again or no need of it.
sub shrink_disk ($self, $name) { $self->_resize_disk($name, ($self->_room($name))[0]) && ($self->_room($name))[1] == 0 }

sub grow_disk ($self, $name) { $self->_resize_disk($name, $self->{disk}{$name}{size}) or die "$name: its disk stays full\n" }

# Their descriptors are out of the way of 3 and 4, where the server looks for them.
sub listen_sockets ($self) {
    my $umask = umask 0;
    for my $path ($self->{socket}, $self->{shop_socket}) {
        my $listener = IO::Socket::UNIX->new(Local => $path, Listen => 1024) or die "$path: $!\n";
        push @{ $self->{listeners} }, fcntl($listener, F_DUPFD, 10) || die "fcntl: $!\n";
    }
    umask $umask;
}

# As systemd starts a service that has a socket unit. Returns at once; answers() tells when it is there.
sub begin_server ($self) {
    $self->{process} = Usher::Process->start(
        command => [
            $^X, '-MPOSIX', '-e', 'dup2(shift, $_) for 3, 4; @ENV{qw(LISTEN_PID LISTEN_FDS)} = ($$, 2); exec @ARGV or die $!',
            @{ $self->{listeners} }, $self->build . '/usher-server', '-c', $self->{conf}
        ],
        env => $self->_environment,
        log => "$self->{dir}/server.log",
        dir => $self->{dir},
    );
}

sub start_server ($self) {
    $self->begin_server;
    Usher::Process::until_true(sub { !$self->{process}->alive || $self->_healthy }, 20) && $self->{process}->alive
        or die "usher-server does not answer:\n" . $self->server_log;
}

# nginx again, at the address of before. True when it was killed by that.
sub restart_nginx ($self) {
    my $killed = ($self->{nginx_process}->kill & 127) == 9;
    for (1 .. 20) {
        $self->{nginx_process} = Usher::Process->start(map { ($_ => $self->{nginx_process}{$_}) } qw(command log dir));
        return $killed
            if Usher::Process::until_true(sub { !$self->{nginx_process}->alive || $self->_listens }, 10)
            && $self->{nginx_process}->alive;
        select undef, undef, undef, 0.1;
    }
    die "nginx does not come back\n";
}

sub start_redis ($self) {
    $self->{redis}->start;
    $self->redis('CONFIG', 'SET', 'appendfsync', 'everysec');
}

sub start_postgres ($self) { $self->{postgres}->start }

# Before File::Temp removes the folders.
END {
    return if $$ != $owner || !@mounts;
    local $?;
    Usher::Process::stop_all();
    Usher::Process::run({}, 'umount', $_) for @mounts;
}

1;
