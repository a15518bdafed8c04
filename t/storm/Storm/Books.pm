# Storm::Books: after the storm: what the crowd was told (Storm::Crowd's journals) against what PostgreSQL and the doorman have.
# Everything that was acknowledged is there, once, and was kept as long as was said; nothing is there that nobody wanted.
package Storm::Books;
use v5.36;
use List::Util ();

# Who joined longer before Redis loses its data does not lose the place; what was away is at work again within RESUMES; a commit is
# through after COMMITS. Seconds.
use constant { UNRECORDED => 2, RESUMES => 2, COMMITS => 0.5 };

# Told by the history of the line when a ticket is there for good, so that nothing that happens later can lose it.
use constant WATCH_HISTORY => <<'END';
CREATE TABLE storm_recorded (ticket bigint PRIMARY KEY, at timestamptz NOT NULL);
CREATE FUNCTION storm_record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
AS $$ BEGIN INSERT INTO public.storm_recorded VALUES (NEW.id, clock_timestamp()) ON CONFLICT DO NOTHING; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER storm_record AFTER INSERT ON waiting_token DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION storm_record();
END

# new(box =>, journals => [paths], weather => the log of Storm::Weather, runs => what has written the history, claim => claim_window,
# active => active_ttl, in seconds)
sub new ($class, %o) {
    my $self = bless { weather => [], runs => [], %o, said => {}, differences => [], counted => {} }, $class;
    $self->_read($_) for @{ $self->{journals} };
    return $self;
}

# What is wrong, as sentences.
sub compare ($self) {
    $self->_load;
    $self->_charges;
    $self->_holds;
    $self->_cancels;
    $self->_payments;
    $self->_honoured;
    $self->_refused_holds;
    $self->_places;
    $self->_strangers;
    $self->_doorman;
    return @{ $self->{differences} };
}

sub _differ ($self, $text)      { push @{ $self->{differences} }, $text }
sub _count  ($self, $name)      { $self->{counted}{$name}++ }
sub counted ($self)             { $self->{counted} }
sub said    ($self, $verb)      { $self->{said}{$verb} // [] }

sub _read ($self, $path) {
    open my $file, '<', $path or die "$path: $!\n";
    while (my $line = <$file>) {
        chomp $line;
        my ($verb, @words) = split / /, $line;
        if   ($verb eq 'wrong') { $self->_differ($line =~ s/^wrong //r) }
        else                    { push @{ $self->{said}{$verb} }, \@words }
    }
}

# ---- the truth

sub _rows ($self, $sql) { map { [ split /\|/, $_, -1 ] } $self->{box}->psql($sql) }

sub _load ($self) {
    for ($self->_rows(q{SELECT l.id, l.user_id, amount, key FROM ledger l LEFT JOIN idempotency_key k ON k.effect = 'charge' AND k.effect_id = l.id
        WHERE l.reservation_id IS NULL})) {
        my ($id, $user, $amount, $key) = @$_;
        $self->{charge}{$id} = { user => $user, amount => $amount, key => $key };
    }
    for ($self->_rows(q{SELECT r.id, r.user_id, r.schedule_id, status, t.seats, key, usher_us(reserved_at), usher_us(expires_at)
        FROM reservation r
        JOIN (SELECT reservation_id, string_agg(seat_id::text, ',' ORDER BY seat_id) AS seats FROM reservation_ticket GROUP BY 1) t
            ON t.reservation_id = r.id
        LEFT JOIN idempotency_key k ON k.effect = 'reservation' AND k.effect_id = r.id})) {
        my ($id, $user, $schedule, $status, $seats, $key, $from, $until) = @$_;
        $self->{reservation}{$id} = {
            id => $id, user => $user, schedule => $schedule, status => $status, seats => $seats, key => $key, from => $from,
            until => $until
        };
        $self->{by_key}{"$user $key"} = $self->{reservation}{$id} if length $key;
    }
    for ($self->_rows(q{SELECT p.id, p.user_id, p.reservation_id, key FROM payment p
        LEFT JOIN idempotency_key k ON k.effect = 'payment' AND k.effect_id = p.id})) {
        my ($id, $user, $reservation, $key) = @$_;
        my $payment = { id => $id, user => $user, reservation => $reservation, key => $key };
        $self->_differ("reservation $reservation has payments $self->{payment_of}{$reservation}{id} and $id")
            if $self->{payment_of}{$reservation};
        $self->{payment_of}{$reservation} = $self->{payment}{$id} = $payment;
    }
    for ($self->_rows('SELECT ticket, usher_us(at), usher_us(activated_at) FROM storm_recorded JOIN waiting_token ON id = ticket')) {
        my ($ticket, $recorded, $activated) = @$_;
        $self->{recorded}{$ticket}  = $recorded;
        $self->{activated}{$ticket} = $activated if length $activated;
    }
}

# ---- what was acknowledged

sub _charges ($self) {
    my %acknowledged;
    for (@{ $self->said('charge') }) {
        my ($key, $user, $amount, $id) = @$_;
        $self->_count('charges');
        my $is = $self->{charge}{$id};
        $self->_differ("charge $id of $amount by user $user is not there, or another one")
            if !$is || $is->{user} != $user || $is->{amount} != $amount || $is->{key} ne $key;
        $self->_differ("charge $id was made with two keys: $acknowledged{$id} and $key")
            if ($acknowledged{$id} //= $key) ne $key;
    }
}

sub _holds ($self) {
    for (@{ $self->said('hold') }) {
        my ($key, $user, $schedule, $seats, $id, $deadline) = @$_;
        $self->_count('holds');
        my $is = $self->{reservation}{$id};
        $self->_differ("reservation $id by user $user of $seats is not there, or another one")
            if !$is
            || $is->{user} != $user
            || $is->{schedule} != $schedule
            || $is->{seats} ne $seats
            || ($key ne '-' && $is->{key} ne $key);
        $self->_differ("reservation $id by user $user was to last until $deadline, but is until $is->{until}")
            if $is && $is->{until} - $is->{until} % 1000 != $deadline;    # told in milliseconds
        $self->{deadline}{$id} = $deadline;
    }
}

sub _cancels ($self) {
    for (@{ $self->said('cancel') }) {
        my ($user, $id) = @$_;
        $self->_count('cancellations');
        my $is = $self->{reservation}{$id};
        $self->_differ("reservation $id by user $user was cancelled, but is " . ($is ? $is->{status} : 'not there'))
            if !$is || $is->{user} != $user || $is->{status} !~ /^(?:cancelled|expired)$/;
    }
}

sub _payments ($self) {
    my %sold;
    for (@{ $self->said('pay') }) {
        my ($key, $user, $reservation, $id) = @$_;
        $self->_count('payments');
        my ($is, $paid) = ($self->{reservation}{$reservation}, $self->{payment_of}{$reservation});
        if (!$is || !$paid || $is->{status} ne 'paid' || $paid->{user} != $user || ($id ne '-' && $paid->{id} != $id)) {
            $self->_differ("payment $id of reservation $reservation by user $user is not there, or another one");
            next;
        }
        $self->_differ("payment $paid->{id} of reservation $reservation was made with another key than $key")
            if $key ne '-' && $paid->{key} ne $key;
        for my $seat (split /,/, $is->{seats}) {
            $self->_differ("seat $seat was sold twice: reservations $sold{$seat} and $reservation")
                if ($sold{$seat} //= $reservation) != $reservation;
        }
    }
    for (@{ $self->said('refused-pay') }) {
        my ($key, $user, $reservation, $code, $at) = @$_;
        $self->_count('holds that were paid too late');
        $self->_differ("reservation $reservation by user $user was refused as $code, but is paid")
            if $self->{payment_of}{$reservation};
        my $left = ($self->{deadline}{$reservation} // 0) - $at;
        $self->_differ("reservation $reservation by user $user was refused as $code, $left us before its deadline") if $left > 0;
    }
}

# ---- a hold is kept until its deadline

# Nobody else gets a seat while it is held, and never once it is paid; what is given back may be held again from then on, not before
# somebody has wanted to give it back.
sub _honoured ($self) {
    my (%of_seat, %given_back);
    for (@{ $self->said('want-cancel') }) {
        my ($user, $id, $at) = @$_;
        $given_back{$id} = $at if $at < ($given_back{$id} // 'inf');
    }
    for my $one (sort { $a->{from} <=> $b->{from} || $a->{id} <=> $b->{id} } values %{ $self->{reservation} }) {
        my $end = $one->{status} eq 'paid' ? 'inf' : $one->{status} eq 'cancelled' ? $given_back{ $one->{id} } // 0 : $one->{until};
        for my $seat (split /,/, $one->{seats}) {
            my $before = $of_seat{$seat};
            $self->_differ("seat $seat was held for reservation $one->{id} while reservation $before->{id} ($before->{status}) had it")
                if $before && $one->{from} < $before->{end};
            $of_seat{$seat} = { %$one, end => $end } if !$before || $end >= $before->{end};
        }
    }
}

# Who is told that a hold was refused has none; for what was kept from an earlier attempt, the answer would have been that.
sub _refused_holds ($self) {
    for (@{ $self->said('refused-hold') }) {
        my ($key, $user, $code, $at) = @$_;
        $self->_count('holds refused');
        $self->_differ("hold $key by user $user was refused as $code") if $code !~ /^(?:seat-unavailable|seat-limit)$/;
        my $is = $self->{by_key}{"$user $key"} // next;
        $self->_differ("hold $key by user $user was refused as $code, but is reservation $is->{id} ($is->{status}) at that time")
            if $is->{status} eq 'paid' || $at < $is->{until};
    }
}

# ---- places in the line

# A place may be gone when its time was over; or when Redis lost its data (the weather's log says when) before the place was in the
# history: until the scheduler has run once, which is a matter of UNRECORDED seconds while nothing is in its way.
sub _places ($self) {
    my @losses = grep { defined $_->{since} } map { _in_us($_) } @{ $self->{weather} };
    my @runs   = map { _in_us($_) } @{ $self->{runs} };
    for (@{ $self->said('lost') }) {
        my ($user, $ticket, $issued, $told, $since, $used, $held, $seen, $at) = @$_;
        my @after = grep { $_->{to} >= $since && $_->{from} <= $at } @losses;
        my $until = $self->_lives_until(\@after, \@runs, $ticket, $told, $since, $used, $held);
        if ($at >= $until) {
            $self->_count('places whose time was over');
            next;
        }
        my $recorded = $self->_recorded($ticket);
        my @loss = grep { $_->{to} >= $seen && $_->{from} <= $at && $issued >= $_->{since} && $recorded > $_->{from} } @losses;
        my @early = grep { !_ran_between(\@runs, $issued, $_->{from}) } @loss;
        if (grep { $self->_time_to_record($issued, $_->{from}) <= UNRECORDED * 1e6 } @early) {
            $self->_count('places lost with Redis, just taken');
            next;
        }
        $self->_differ("ticket $ticket of user $user (issued at $issued, "
                . ($recorded eq 'inf' ? 'not in the history' : "in the history since $recorded")
                . ", active until $until, last seen $seen) was gone at $at: "
                . (@loss ? "Redis lost its data, but later than it may" : 'nothing explains it'));
    }
}

# A place that was last seen waiting lives as long as the claim window that has begun unseen. An active one lives as long as it was
# told; and from its first use on, if what it was told was its claim window; and as long as what it holds. Where Redis lost its data
# meanwhile, who was known to be active has a new life since then, which no use lengthens. Who was not yet known to be has what was
# told, but not what had come on top of it; and from an older copy no more than the claim window, if it was told since.
sub _lives_until ($self, $losses, $runs, $ticket, $told, $since, $used, $held) {
    my $claim = $self->_claim($ticket);
    return $claim if !$told;
    my $activated = $self->{activated}{$ticket} // 'inf';
    if (my @unknown = grep { !_ran_between($runs, $activated, $_->{from}) } @$losses) {
        return (grep { $_->{since} && $_->{since} <= $since } @unknown) ? List::Util::min($told, $claim) : $told;
    }
    my $new_life = $used && $told == $claim && !(grep { $_->{from} < $used } @$losses);
    return List::Util::max($told, $held, $new_life ? $used + $self->{active} * 1e6 : 0);
}

# Whether the scheduler has run to its end, from a time on and before another: what was there at the first is in the history then.
sub _ran_between ($runs, $from, $to) { scalar grep { $from < $_->{from} && $_->{to} < $to } @$runs }

sub _claim ($self, $ticket) {
    return defined $self->{activated}{$ticket} ? $self->{activated}{$ticket} + $self->{claim} * 1e6 : 'inf';
}

# From when on a ticket is in the history for certain: a server that is frozen or without room commits when that is over.
sub _recorded ($self, $ticket) {
    my $from = $self->{recorded}{$ticket} // return 'inf';
    my @stay = grep { $_->{name} =~ /^PostgreSQL.* for a second/ && $_->{from} <= $from + COMMITS * 1e6 && $_->{to} >= $from }
        map { _in_us($_) } @{ $self->{weather} };
    return List::Util::max($from, map { $_->{to} } @stay) + COMMITS * 1e6;
}

sub _in_us ($entry) {
    return { %$entry, map { ($_ => $entry->{$_} * 1e6) } grep { defined $entry->{$_} } qw(from to since) };
}

# How much of a time the history could be written in.
sub _time_to_record ($self, $from, $to) {
    my $time = 0;
    for my $away (sort { $a->{from} <=> $b->{from} } grep { $_->{away} } map { _in_us($_) } @{ $self->{weather} }) {
        next if $away->{to} + RESUMES * 1e6 < $from;
        last if $away->{from} >= $to;
        $time += List::Util::max(0, $away->{from} - $from);
        $from = $away->{to} + RESUMES * 1e6;
    }
    return $time + List::Util::max(0, $to - $from);
}

# ---- nothing that nobody wanted, and nothing twice

# Wishes with a key have one effect at most; those without one as many as there were wishes.
sub _strangers ($self) {
    my %wanted;
    $wanted{"charge $_->[1] $_->[2] $_->[0]"}                                          = 1 for @{ $self->said('want-charge') };
    $wanted{"hold $_->[1] $_->[2] $_->[3] " . ($_->[0] eq '-' ? '' : $_->[0])} += 1 for @{ $self->said('want-hold') };
    $wanted{"pay $_->[1] $_->[2]"}                                                     = 1 for @{ $self->said('want-pay') };
    my %cancelled = map { ($_->[1] => 1) } @{ $self->said('want-cancel') };

    my %is;
    for my $id (sort { $a <=> $b } keys %{ $self->{charge} }) {
        my $charge = $self->{charge}{$id};
        $is{"charge $charge->{user} $charge->{amount} $charge->{key}"}++;
    }
    for my $id (sort { $a <=> $b } keys %{ $self->{reservation} }) {
        my $one = $self->{reservation}{$id};
        $is{"hold $one->{user} $one->{schedule} $one->{seats} $one->{key}"}++;
        $self->_differ("reservation $id is cancelled, and nobody wanted that") if $one->{status} eq 'cancelled' && !$cancelled{$id};
    }
    $is{"pay $_->{user} $_->{reservation}"}++ for values %{ $self->{payment} };
    for my $effect (sort keys %is) {
        $self->_differ("$effect: $is{$effect} times there, " . ($wanted{$effect} // 0) . ' times wanted')
            if $is{$effect} > ($wanted{$effect} // 0);
    }
    $self->_count('effects in PostgreSQL') for 1 .. List::Util::sum0(values %is);
}

# All holds are over: a seat is sold in truth, or free for everybody.
sub _doorman ($self) {
    my %sold;
    for my $one (grep { $_->{status} eq 'paid' } values %{ $self->{reservation} }) {
        $sold{$_} = $one->{user} for split /,/, $one->{seats};
    }
    my $now = time * 1000;
    for my $key ($self->{box}->redis('KEYS', 's:*')) {
        my %says = $self->{box}->redis('HGETALL', $key);
        for my $seat (grep {/^\d+$/} sort keys %says) {
            my ($deadline, $user) = split / /, $says{$seat};
            $self->_count('seats at the doorman');
            $self->_differ("seat $seat: the doorman keeps it ($says{$seat}), but it is free")
                if !$sold{$seat} && ($deadline == 0 || $deadline > $now);
            $self->_differ("seat $seat: the doorman says sold to $user, but it is sold to $sold{$seat}")
                if $sold{$seat} && $deadline == 0 && $user != $sold{$seat};
        }
    }
}

1;
