# Usher::Pause: operations that are stopped (SIGSTOP) at every point where they reach PostgreSQL or Redis, while the world moves on,
# and then go on as though nothing had been. The points are those of src/base/crash.h.
#
#   my $pauses = Usher::Pause->new($usher, $matrix);      $matrix: the Usher::Crash that knows which points are passed
#   $pauses->operation(name => 'charge', setup => sub {...}, act => sub ($c) {...});
#   $pauses->meanwhile('it is repeated', sub (@cases) {...}, then => sub ($c, $answer) {...}, later => sub ($c) {...});
#   $pauses->settle('money');                             the scheduler comes by, and usherctl verify looks
#
# An operation: setup makes a case (a hash), act its request (an array for request()) or program ({run => [name, arguments]}); only,
# a pattern, leaves the other points out. `meanwhile` makes a case for each point and stops it there; when all are stopped its code
# is run with all of them, the point being $c->{point}; then all go on, one after the other. `then` and `later` (once the scheduler
# has been there) say what is wrong.
package Usher::Pause;
use v5.36;
use IO::Select;
use Test::More;
use Usher::Process;

sub new ($class, $usher, $matrix) {
    return bless { usher => $usher, matrix => $matrix, pending => [] }, $class;
}

sub operation ($self, %o) {
    $self->{operation} = \%o;
    my $act = sub ($c) {
        my $what = $o{act}->($c);
        return $what if ref $what eq 'ARRAY';
        return sub { { status => $self->_start($what)->{process}->wait == 0 ? 200 : 500 } };
    };
    $self->{points} = [ $self->{matrix}->points({ %o, act => $act }) ];
    ok(scalar @{ $self->{points} }, "$o{name}: passes " . @{ $self->{points} } . ' points');
}

# ---- one that is stopped

sub _start ($self, $what) {
    my $usher = $self->{usher};
    if (ref $what eq 'HASH') {
        my ($program, @arguments) = @{ $what->{run} };
        return { process => $usher->background($program, @arguments) };
    }
    my ($method, $path, %o) = @$what;
    my (undef, $body) = $usher->_parts(%o);
    my $request = $usher->fcgi_open($method, $path, %o);    # past nginx, which would not wait as long
    $request->send($body) if length $body // '';
    $request->finish;
    return { request => $request };
}

sub _is_stopped ($pid) { (eval { Usher::Process::slurp("/proc/$pid/stat") } // '') =~ /^\d+ \(.*\) T /s }

# It has come to its end without passing the point.
sub _has_ended ($one) { $one->{process} ? !$one->{process}->alive : IO::Select->new($one->{request}{socket})->can_read(0) }

# Starts it and waits until it has stopped; undef when it does not come by the point.
sub stop_at ($self, $point, $what) {
    my $usher = $self->{usher};
    $self->{workers} //= [ $usher->worker_pids ];
    $self->{matrix}->name("$point pause");
    my $one = $self->_start($what);
    Usher::Process::until_true(
        sub {
            return _has_ended($one) if $self->{matrix}->is_named;
            my @may_be = $one->{process} ? $one->{process}->pid : @{ $self->{workers} };
            ($one->{pid}) = grep { !$self->{stopped}{$_} && _is_stopped($_) } @may_be;
            return $one->{pid};
        },
        3
    );
    if ($self->{matrix}->name || !$one->{pid}) {
        diag("$point: not passed; ", $one->{request} ? "the answer is " . ($one->{request}->response // { status => 'none' })->{status} : '');
        return;
    }
    $self->{stopped}{ $one->{pid} } = 1;
    return $one;
}

# It goes on to its end: the answer, or a program's exit status.
sub go_on ($self, $one) {
    delete $self->{stopped}{ $one->{pid} };
    kill CONT => $one->{pid} or die "a stopped process is gone: $!\n";
    return $one->{request} ? $one->{request}->response : $one->{process}->wait;
}

# ---- many that are stopped, and the world

sub meanwhile ($self, $name, $happens, %o) {
    my $operation = $self->{operation};
    my @cases;
    for my $point (@{ $self->{points} }) {
        my $c = { %{ $operation->{setup}->() }, point => $point };
        $c->{stopped} = $self->stop_at($point, $operation->{act}->($c));
        $operation->{stopped}->($c) if $c->{stopped} && $operation->{stopped};
        push @cases, $c;
    }
    $happens->(grep { $_->{stopped} } @cases);
    my @going = grep { $_->{stopped} } @cases;
    if ($operation->{together}) {
        kill CONT => map { $_->{stopped}{pid} } @going;
    }
    $_->{answer} = $self->go_on($_->{stopped}) for @going;
    for my $c (@cases) {
        my @wrong = $c->{stopped} ? ($o{then} // sub { () })->($c, $c->{answer}) : 'the point was not passed';
        push @{ $self->{pending} }, [ "$operation->{name}: stopped at $c->{point}, $name", $c, $o{later} // sub { () }, @wrong ];
    }
}

# The scheduler comes by; what was stopped since the last time is looked at once more.
sub settle ($self, $what) { $self->{matrix}->look_again($what, $self->{pending}, qw(--settle 0)) }

1;
