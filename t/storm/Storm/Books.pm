# Storm::Books: after the storm: what the crowd was told (Storm::Crowd's journals) against what PostgreSQL and the doorman have.
# Everything that was acknowledged is there, once; nothing is there that nobody wanted.
package Storm::Books;
use v5.36;

# new(box =>, journals => [paths])
sub new ($class, %o) {
    my $self = bless { %o, said => {}, differences => [], counted => {} }, $class;
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
    for ($self->_rows(q{SELECT l.id, l.user_id, amount, key FROM ledger l LEFT JOIN idempotency_key k ON k.charge_id = l.id
        WHERE kind = 'charge'})) {
        my ($id, $user, $amount, $key) = @$_;
        $self->{charge}{$id} = { user => $user, amount => $amount, key => $key };
    }
    for ($self->_rows(q{SELECT r.id, r.user_id, r.schedule_id, status, t.seats, key FROM reservation r
        JOIN (SELECT reservation_id, string_agg(seat_id::text, ',' ORDER BY seat_id) AS seats FROM reservation_ticket GROUP BY 1) t
            ON t.reservation_id = r.id
        LEFT JOIN idempotency_key k ON k.reservation_id = r.id})) {
        my ($id, $user, $schedule, $status, $seats, $key) = @$_;
        $self->{reservation}{$id}
            = { user => $user, schedule => $schedule, status => $status, seats => $seats, key => $key };
    }
    for ($self->_rows(q{SELECT p.id, p.user_id, p.reservation_id, key FROM payment p
        LEFT JOIN idempotency_key k ON k.payment_id = p.id})) {
        my ($id, $user, $reservation, $key) = @$_;
        my $payment = { id => $id, user => $user, reservation => $reservation, key => $key };
        $self->_differ("reservation $reservation has payments $self->{payment_of}{$reservation}{id} and $id")
            if $self->{payment_of}{$reservation};
        $self->{payment_of}{$reservation} = $self->{payment}{$id} = $payment;
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
        my ($key, $user, $schedule, $seats, $id) = @$_;
        $self->_count('holds');
        my $is = $self->{reservation}{$id};
        $self->_differ("reservation $id by user $user of $seats is not there, or another one")
            if !$is
            || $is->{user} != $user
            || $is->{schedule} != $schedule
            || $is->{seats} ne $seats
            || ($key ne '-' && $is->{key} ne $key);
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
        my ($key, $user, $reservation, $code) = @$_;
        $self->_differ("reservation $reservation by user $user was refused as $code, but is paid")
            if $self->{payment_of}{$reservation};
    }
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
