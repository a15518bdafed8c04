# Usher::Crash: operations that are cut off (kill -9) at every point where they reach PostgreSQL or Redis, and repeated. The
# points are those of src/base/crash.h.
#
#   my $matrix = Usher::Crash->new($usher);       a stack whose server is not running yet
#   $matrix->operation(name => 'charge', setup => sub {...}, act => sub ($c) {...}, good => [201], now => sub ($c, $r) {...});
#   $matrix->settle('money');                     the scheduler comes by, and usherctl verify looks
#   $matrix->all_points, $matrix->killed          what there is, and where something was cut off
#   $matrix->points({...}), $matrix->name($point) the points of an operation; the trap (see Usher::Pause)
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
    my $self = bless { usher => $usher, killed => {}, passed => {}, pending => [], map { ($_ => "$usher->{dir}/$_") } qw(crash trace) }, $class;
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
sub points ($self, $o) {
    my $c = $o->{setup}->();
    Usher::Process::spew($self->{trace}, '');
    my $answer;
    Usher::Process::until_true(sub { $answer = $self->_act($o, $c); _status_of($answer) != 503 }, 15);
    my %seen;
    my @points = grep { !$seen{$_}++ } split /\n/, Usher::Process::slurp($self->{trace});
    unlink $self->{trace};
    $self->{passed}{$_} = 1 for @points;
    @points = grep { !$greeting{$_} } @points if !$o->{connects};
    @points = grep { $_ =~ $o->{only} } @points if $o->{only};
    return @points;
}

# Names the point for the next one that passes it, or takes the name back: true when nobody has passed it.
sub name ($self, $point = undef) {
    my $crash = $self->{crash};
    return unlink $crash if !defined $point;
    Usher::Process::spew("$crash.new", "$point\n");
    rename "$crash.new", $crash or die "$crash: $!\n";
}

sub is_named ($self) { -e $self->{crash} }

# One case: cut off at the point, repeated; a list of what is wrong.
sub _cut_off ($self, $o, $c, $point) {
    $self->name($point);
    my $answer = $self->_act($o, $c);
    if ($self->name) {
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
    my @points = $self->points($o);
    ok(scalar @points, "$o->{name}: passes " . @points . ' points');
    for my $point (@points) {
        my $c = $o->{setup}->();
        push @{ $self->{pending} }, [ "$o->{name}: killed at $point", $c, $o->{later}, $self->_cut_off($o, $c, $point) ];
    }
    return;
}

# The scheduler comes by; what was cut off since the last time is looked at once more.
sub settle ($self, $what) { $self->look_again($what, $self->{pending}) }

# The same for a list of [name, case, later, what was wrong before...], which is empty afterwards; more goes to usherctl verify.
sub look_again ($self, $what, $pending, @more) {
    my $usher = $self->{usher};
    $usher->clock_advance(DOUBTFUL);
    my $status;
    Usher::Process::until_true(sub { ($status) = $usher->scheduler('expire'); $status == 0 }, 15);
    for (splice @$pending) {
        my ($name, $c, $later, @wrong) = @$_;
        push @wrong, map {"later: $_"} $later->($c);
        ok(!@wrong, $name) or diag join "\n", @wrong;
    }
    ($status, my ($out, $err)) = $usher->ctl('verify', @more);
    is($status, 0, "$what: verify finds nothing") or diag $out, $err;
    return;
}

# ---- every point there is, from the code

# What usherctl verify asks Redis changes nothing, so that it may be cut off anywhere; and what a new connection begins with
# (redis_link.c) goes past the points.
my %asks        = map { ($_ => 1) } qw(EXISTS EXEC HEXISTS HGETALL HMGET HSCAN MULTI TIME XRANGE XREVRANGE ZCOUNT ZMSCORE ZRANGEBYSCORE ZSCAN);
my $only_asks   = qr{/ctl/verify_\w+\.c$};
my $past_points = qr{/store/redis_link\.c$};

# The calls of Redis that a file puts together, in order: {name => [the command, or SCRIPT_...], head => whether it can be the first
# of a pipeline, which names the point; posted => whether nobody waits for its answer}.
sub calls_in ($text) {
    $text =~ s{/\*.*?\*/}{}sg;
    my @calls;
    for my $function (split /^\}\n/m, $text) {
        while ($function =~ /(?<!void )\bredis_(?:command|script)\(/g) {
            my $here = pos $function;
            my ($target, $what) = $function =~ /\G(&?\w+(?:\[[^\]]*\])?), [\w>-]+, ([^;]*)\);/ or die "cannot read: " . substr $function, $here, 60;
            my @names = $what =~ /(SCRIPT_\w+)/ ? $1 : $what =~ /"(\w+)"/g;
            my $head  = _is_head($target, $function, $text);
            die "which command is this? $what\n" if $head && !@names;
            push @calls, { names => \@names, head => $head, posted => _is_posted($target, substr $function, $here) };
        }
    }
    return @calls;
}

# The first of an array, or all of it in a loop; what a function is given is what its callers give it.
sub _is_head ($target, $function, $text) {
    return $target =~ /\[(.*)\]/ ? $1 =~ /^(?:0|i)$/ : 1 if $target =~ /^&/;
    my ($name) = $function =~ /(\w+)\([^()]*\bstruct redis_call \*\Q$target\E\b/ or die "whose is $target?\n";
    return scalar grep { _is_head($_, '', $text) } $text =~ /\b\Q$name\E\([^;{]*?(&\w+(?:\[[^\]]*\])?)[^;{]*\);/g;
}

sub _is_posted ($target, $rest) {
    return $target =~ /^&/ && $rest =~ /\b(?:redis|restore_and)_(post|run|run_one)\([^;]*\Q$target\E\b/ && $1 eq 'post';
}

sub all_points ($self) {
    my $source  = $self->{usher}->source . '/src';
    my %steps   = map { ($_ => 1) } Usher::Process::slurp("$source/store/statement.h") =~ /^\s*ROW\((\w+),\s+(?:true|false)/mg;
    my %scripts = Usher::Process::slurp("$source/store/script.h") =~ /^\s*ROW\((\w+),\s+"(\w+)"/mg;
    cmp_ok(keys %steps,   '>', 20, 'the table of statements is read');
    cmp_ok(keys %scripts, '>', 15, 'the table of scripts is read');

    # What is always posted has no "after".
    my %answered = %steps;
    for my $path (grep { $_ !~ $past_points } glob "$source/*.c $source/*/*.c") {
        for my $call (grep { $_->{head} } calls_in(Usher::Process::slurp($path))) {
            for my $step (map { /^SCRIPT_(.*)/ ? $scripts{$1} : $_ } @{ $call->{names} }) {
                next if $path =~ $only_asks && $asks{$step};
                $steps{$step} = 1;
                $answered{$step} ||= !$call->{posted};
            }
        }
    }
    is_deeply([ grep { !$steps{$_} } sort values %scripts ], [], 'every script of the table is called');
    my @points = map {
        my $step = $_;
        map {"$_:$step"} 'before', 'sent', $answered{$step} ? 'after' : ()
    } sort keys %steps;
    my %known = map { ($_ => 1) } @points;
    is_deeply([ grep { !$known{$_} } sort keys %{ $self->{passed} } ], [], 'no point was passed that is not known from the code');
    return @points;
}

1;
