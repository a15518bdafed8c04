# Usher::Crash: operations that are cut off (kill -9) at every point where they reach PostgreSQL or Redis, and repeated. The
# points are those of src/base/crash.h.
#
#   my $matrix = Usher::Crash->new($usher);       a stack whose server is not running yet
#   $matrix->operation(name => 'charge', setup => sub {...}, act => sub ($c) {...}, good => [201], now => sub ($c, $r) {...});
#   $matrix->settle('money');                     the scheduler comes by, and usherctl verify looks
#   $matrix->all_points, $matrix->killed          what there is, and where something was cut off
#
# An operation:
#   name       what is cut off
#   before     runs once, ahead of the first case
#   setup      makes a case: a hash, passed to all the others
#   act        the request, as an array for request(); or a sub that does it and answers a response or {status => ...}, where
#              503 stands for "did not come to its end, repeat it"
#   good       the statuses that the repeated request may have      [200]
#   once       it is not repeated: the client is gone, or may not
#   now        what is wrong right after that, as sentences
#   later      ... and once the scheduler has been there (within a minute)
#   connects   the points of a new connection belong to it
#   only       a pattern: only these points
package Usher::Crash;
use v5.36;
use Test::More;
use Usher::Process;

# So long after a cut-off claim the scheduler asks about it (src/sale/doorman.c), and a little more.
use constant DOUBTFUL => 20;

my %greeting = map { ("$_:HGET" => 1) } qw(before sent after);

# The stack, with the server not yet running: its environment is told where the points are named.
sub new ($class, $usher) {
    my $self = bless { usher => $usher, killed => {}, pending => [], map { ($_ => "$usher->{dir}/$_") } qw(crash trace) }, $class;
    $usher->{env} = { USHER_TEST_CRASH => $self->{crash}, USHER_TEST_CRASH_TRACE => $self->{trace} };
    return $self;
}

# {point => name of an operation that was cut off there}
sub killed ($self) { $self->{killed} }

sub _act ($self, $o, $c) {
    my $what = $o->{act}->($c);
    return ref $what eq 'CODE' ? $what->() : $self->{usher}->request(@$what);
}

# A run's answer, or undef: a worker that died while it was asked past nginx gives none.
sub _status_of ($answer) { !$answer ? 503 : ref $answer eq 'HASH' ? $answer->{status} : $answer->status }

# The points that the operation passes, in their order.
sub _points ($self, $o) {
    my $c = $o->{setup}->();
    Usher::Process::spew($self->{trace}, '');
    my $answer;
    Usher::Process::until_true(sub { $answer = $self->_act($o, $c); _status_of($answer) != 503 }, 15);
    my %seen;
    my @points = grep { !$seen{$_}++ } split /\n/, Usher::Process::slurp($self->{trace});
    unlink $self->{trace};
    @points = grep { !$greeting{$_} } @points if !$o->{connects};
    @points = grep { $_ =~ $o->{only} } @points if $o->{only};
    return @points;
}

# One case: cut off at the point, repeated; a list of what is wrong.
sub _cut_off ($self, $o, $c, $point) {
    my $crash = $self->{crash};
    Usher::Process::spew("$crash.new", "$point\n");
    rename "$crash.new", $crash or die "$crash: $!\n";
    my $answer = $self->_act($o, $c);
    if (unlink $crash) {
        return "the point was not passed (the answer was " . _status_of($answer) . ')';
    }
    $self->{killed}{$point} //= $o->{name};
    return ("cut off, but answered with " . _status_of($answer)) if _status_of($answer) != 503;
    if (!$o->{once}) {
        Usher::Process::until_true(sub { $answer = $self->_act($o, $c); _status_of($answer) != 503 }, 15);
        my $status = _status_of($answer);
        return "repeated, it is answered with $status" . (ref $answer eq 'HASH' ? '' : " $answer->{body}")
            if !grep { $_ == $status } @{ $o->{good} };
    }
    return $o->{now}->($c, $answer);
}

# Cuts it off at each of its points.
sub operation ($self, %o) {
    my $o = { good => [200], now => sub { () }, later => sub { () }, %o };
    $o->{before}->() if $o->{before};
    my @points = $self->_points($o);
    ok(scalar @points, "$o->{name}: passes " . @points . ' points');
    for my $point (@points) {
        my $c = $o->{setup}->();
        push @{ $self->{pending} }, [ $o, $point, $c, $self->_cut_off($o, $c, $point) ];
    }
    return;
}

# The scheduler comes by; what was cut off since the last time is looked at once more.
sub settle ($self, $what) {
    my $usher = $self->{usher};
    $usher->clock_advance(DOUBTFUL);
    my $status;
    Usher::Process::until_true(sub { ($status) = $usher->scheduler('expire'); $status == 0 }, 15);
    for (@{ $self->{pending} }) {
        my ($o, $point, $c, @wrong) = @$_;
        push @wrong, map {"later: $_"} $o->{later}->($c);
        ok(!@wrong, "$o->{name}: killed at $point") or diag join "\n", @wrong;
    }
    $self->{pending} = [];
    ($status, my ($out, $err)) = $usher->ctl('verify');
    is($status, 0, "$what: verify finds nothing") or diag $out, $err;
    return;
}

# ---- every point there is, from the code

sub _functions_of ($path) { split /^\}\n/m, Usher::Process::slurp($path) }

sub all_points ($self) {
    my $source  = $self->{usher}->source . '/src';
    my %steps   = map { ($_ => 1) } Usher::Process::slurp("$source/store/statement.h") =~ /^\s*ROW\((\w+),\s+(?:true|false)/mg;
    my %scripts = Usher::Process::slurp("$source/store/script.h") =~ /^\s*ROW\((\w+),\s+"(\w+)"/mg;
    cmp_ok(keys %steps,   '>', 20, 'the table of statements is read');
    cmp_ok(keys %scripts, '>', 15, 'the table of scripts is read');
    $steps{$_} = 1 for values %scripts;

    # Nobody waits for the answer of what is posted: it has no "after". The first call of a pipeline names it.
    my %posted;
    for my $path (glob "$source/sale/*.c") {
        for my $function (_functions_of($path)) {
            $steps{$1}             = 1 while $function =~ /redis_command\(&?\w+(?:\[0\])?,\s*[\w>.-]+,\s*"(\w+)"/g;
            $posted{ $scripts{$1} } = 1
                while $function =~ /redis_script\(&?\w+,\s*[\w>.-]+,\s*SCRIPT_(\w+)\)(?:(?!redis_script\(|redis_run).)*redis_post\(/sg;
        }
    }
    return map {
        my $step = $_;
        map {"$_:$step"} 'before', 'sent', $posted{$step} ? () : 'after'
    } sort keys %steps;
}

1;
