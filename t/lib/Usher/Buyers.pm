# Usher::Buyers: people before halls of their own, what they ask for, and what they have in the end; for tests that disturb
# requests in the middle.
#
#   Usher::Buyers::open($usher, concert => $id, price => 700, money => 5000);
#   make_people(20); my $c = holder(); ... is(has($c->{user}), having(held => 1));
package Usher::Buyers;
use v5.36;
use parent 'Exporter';
use Usher::Process;
use Usher::Race;

our @EXPORT = qw(make_people person hall halls close_halls key hold_request pay_request cancel_request gated insist warm cold visitor holder waiting_person
    has having seats token history differs seats_are_free admissions);

my ($usher, %o, @people, @halls);
my ($keys, $newcomer) = (0, 900_000);

# price of each seat, money in each wallet, concert to which the halls belong.
sub open ($stack, %options) {
    $usher = $stack;
    %o     = %options;
}

# ---- people and halls, made ahead in bulk

# So many admitted users with money; those of before who were not needed are forgotten.
sub make_people ($count) {
    my @new = people($usher, $count);
    query($usher, "DO \$\$ BEGIN PERFORM usher_charge(u, $o{money}, 1000000, 'first', '\\x00') FROM generate_series("
            . "$new[0]{user}, $new[-1]{user}) u; END \$\$");
    @people = @new;
}

# One of them: {user, token}.
sub person { shift @people // die "more people are needed\n" }

# A user in the line who has not been let in: {user, token, ticket}.
sub waiting_person {
    my $user  = ++$newcomer;
    my $place = insist([ POST => '/v1/queue/tokens', user => $user ])->json;
    return { user => $user, token => $place->{token}, ticket => $place->{ticket} };
}

# Schedules, each with four seats: ({schedule, seats => [...]}, ...), ascending. The doorman does not know them yet.
sub halls ($count) {
    return map { my ($schedule, $seats) = split /\|/; { schedule => 0 + $schedule, seats => [ split / /, $seats ] } } query(
        $usher,
        "WITH s AS (INSERT INTO concert_schedule (concert_id, place, concert_at, reservation_opens_at, reservation_closes_at)
             SELECT $o{concert}, 'Hall', usher_clock() + interval '90 days', usher_clock() - interval '1 hour',
                    usher_clock() + interval '60 days' FROM generate_series(1, $count) RETURNING id),
         e AS (INSERT INTO concert_seat (schedule_id, location, price)
             SELECT s.id, 'A' || i, $o{price} FROM s, generate_series(1, 4) i RETURNING id, schedule_id)
         SELECT schedule_id, string_agg(id::text, ' ' ORDER BY id) FROM e GROUP BY 1 ORDER BY 1"
    );
}

# One of its own for each who asks.
sub hall {
    @halls = halls(60) if !@halls;
    return shift @halls;
}

# Nothing of before is on sale any more: the scheduler leaves it alone.
sub close_halls {
    @halls = ();
    query($usher, "UPDATE concert_schedule SET reservation_opens_at = usher_clock() - interval '4 days',
        reservation_closes_at = usher_clock() - interval '3 days'");
}

sub key { 'key-' . ++$keys }

# ---- requests

sub hold_request ($c, %more) {
    return [
        POST => '/v1/reservations', user => $c->{user}, token => $c->{token}, %more,
        body => { schedule_id => $c->{schedule}, seat_ids => [ map { 0 + $_ } @{ $c->{wanted} } ] }
    ];
}

sub pay_request ($c, %more) {
    return [
        POST => '/v1/payments', user => $c->{user}, token => $c->{token}, %more, body => { reservation_id => 0 + $c->{reservation} }
    ];
}
sub cancel_request ($c) { [ DELETE => "/v1/reservations/$c->{reservation}", user => $c->{user} ] }
sub gated ($c, $path) { [ GET => $path, user => $c->{user}, token => $c->{token} ] }

# Sends until it is answered with something else than 503: what a client does.
sub insist ($request) {
    my $response;
    Usher::Process::until_true(sub { $response = $usher->request(@$request); $response->status != 503 }, 15);
    return $response;
}

# The doorman of a hall knows it.
sub warm ($c) { insist(gated($c, "/v1/schedules/$c->{schedule}/seats")) }

# He does not: the scheduler has warmed those that were there when it came by.
sub cold ($c) { ask($usher, 'DEL', "s:{main}:$c->{schedule}:seats") }

# A person before a hall of their own, who wants two of its seats.
sub visitor {
    my $c = { %{ person() }, %{ hall() } };
    $c->{wanted} = [ @{ $c->{seats} }[ 0, 1 ] ];
    return $c;
}

# The same with the seats held.
sub holder {
    my $c = visitor();
    warm($c);
    my $r = insist(hold_request($c, key => key()));
    die "hold: $r->{status} $r->{body}\n" if $r->status != 201;
    $c->{reservation} = $r->json->{id};
    return $c;
}

# ---- what is there

# Everything that a user has, in one line: "balance 5000, charges 1, payments 0, held 0, paid 0, ...".
sub has ($user) {
    return query(
        $usher,
        "SELECT format('balance %s, charges %s, payments %s, held %s, paid %s, cancelled %s, expired %s',
            (SELECT balance FROM asset WHERE user_id = $user),
            (SELECT count(*) FROM ledger WHERE user_id = $user AND reservation_id IS NULL),
            (SELECT count(*) FROM payment WHERE user_id = $user),
            count(*) FILTER (WHERE status = 'held'), count(*) FILTER (WHERE status = 'paid'),
            count(*) FILTER (WHERE status = 'cancelled'), count(*) FILTER (WHERE status = 'expired'))
         FROM reservation WHERE user_id = $user"
    );
}

# The same, as expected, said in what differs from a person who has only come.
sub having (%is) {
    %is = (balance => $o{money}, charges => 1, payments => 0, held => 0, paid => 0, cancelled => 0, expired => 0, %is);
    return join ', ', map {"$_ $is{$_}"} qw(balance charges payments held paid cancelled expired);
}

# What the doorman says of the wanted seats: "free", "held 7", "sold 7".
sub seats ($c) {
    my $now = $usher->now * 1000;
    my %is  = map {
        my $value = ask($usher, 'HGET', "s:{main}:$c->{schedule}:seats", $_);
        my ($deadline, $user) = split / /, $value || '1 0';
        (($deadline == 0 ? "sold $user" : $deadline > $now ? "held $user" : 'free') => 1);
    } @{ $c->{wanted} };
    return join ' and ', sort keys %is;
}

# The user's token in the line: "none", "waiting", "active".
sub token ($user) {
    my $record = ask($usher, 'HGET', 'q:{main}:tokens', $user) or return 'none';
    my ($waits, $active) = map { ask($usher, 'ZSCORE', "q:{main}:$_", $user) ? 1 : 0 } qw(waiting active);
    return $waits && $active ? 'both' : $waits ? 'waiting' : $active ? 'active' : 'neither';
}

# The history of the user's tickets: "used", "expired, waiting".
sub history ($user) { join ', ', query($usher, "SELECT status FROM waiting_token WHERE user_id = $user ORDER BY id") }

# "", or what is not as it should be.
sub differs ($what, $is, $should) { $is eq $should ? () : "$what: $is, not $should" }

# What is wrong with how these people, who came one after the other, were admitted so far: in their order, no more than batch in any
# period (ms), and the history knows.
sub admissions ($line, $batch, $period) {
    my (@at, @wrong);
    for my $one (@$line) {
        my (undef, undef, $at) = split / /, ask($usher, 'HGET', 'q:{main}:tokens', $one->{user});
        my $is = defined $at ? 'active' : 'waiting';
        push @at,    $at;
        push @wrong, differs("user $one->{user} in the line", token($one->{user}), $is);
        push @wrong, differs("history of user $one->{user}", history($one->{user}), $is);
    }
    my $admitted = grep {defined} @at;
    push @wrong, 'they were not admitted in their order' if grep { !defined } @at[ 0 .. $admitted - 1 ];
    for my $i ($batch .. $admitted - 1) {
        my $took = $at[$i] - $at[ $i - $batch ];
        push @wrong, $batch + 1 . " people were admitted in $took ms" if $took < $period;
    }
    my ($serving) = ask($usher, 'HGET', 'q:{main}:admission', 'serving');
    return (@wrong, $admitted ? differs('serving', $serving, $line->[ $admitted - 1 ]{ticket}) : 'nobody was admitted');
}

# Somebody else gets the seats: they are free in every respect.
sub seats_are_free ($c) {
    my $other = { %$c, %{ person() } };
    my $r     = insist(hold_request($other));
    return differs('somebody else asks for the seats', $r->status, 201);
}

1;
