# Storm::Crowd: one process of the crowd: some hundred people who join, wait, look, hold, pay, cancel and forget, each over a kept
# connection of their own, in one loop around select(). Whatever goes wrong on the way (no answer, a cut connection, 503, 429) is
# repeated with the same Idempotency-Key until it is answered; but both must say when to come again, and no other 5xx is right.
#
# Everything that a person wants and everything that usher acknowledges is written to a journal, one line each; Storm::Books
# compares it with the truth. Lines (words separated by blanks, - for no key, times in microseconds since 1970):
#   want-charge KEY USER AMOUNT              charge KEY USER AMOUNT ID
#   want-hold KEY USER SCHEDULE SEATS        hold KEY USER SCHEDULE SEATS RESERVATION DEADLINE   refused-hold KEY USER CODE TIME
#   want-pay KEY USER RESERVATION            pay KEY USER RESERVATION PAYMENT             refused-pay KEY USER RESERVATION CODE TIME
#   want-cancel USER RESERVATION TIME        cancel USER RESERVATION
#   lost USER TICKET ISSUED TOLD SINCE USED HELD SEEN TIME   a place in the line that was gone at TIME: it was said at SINCE to be
#                                            active until TOLD (0: to wait), was then used first at USED, and for a hold until HELD (0:
#                                            not); last seen by a request of SEEN
#   wrong TEXT                               an answer that cannot be right
package Storm::Crowd;
use v5.36;
use IO::Socket::INET;
use List::Util  ();
use Time::HiRes qw(time);
use Time::Local ();

use constant { TIMEOUT => 10, TICK => 0.01, PRICE => 1000, CHARGE => 4000, LATE_FROM => -1, LATE => 1.5 };

# new(address => "127.0.0.1:80", jwt => sub ($user), seed =>, people => how many, first => their first user id, halls =>
# [[schedule, seats...], ...], from =>, until => times between which new visits begin, journal => path)
sub new ($class, %o) {
    my $self = bless {
        %o, storm => getppid, timers => {}, flying => {}, count => {}, users => 0, keys => 0, busy => 0, lines => ''
    }, $class;
    srand $o{seed};
    open $self->{file}, '>', $o{journal} or die "$o{journal}: $!\n";
    return $self;
}

# Plays until everybody has left; the numbers of answers by "operation status".
sub run ($self) {
    for my $n (1 .. $self->{people}) {
        my $person = { number => $n };
        $self->{busy}++;
        $self->_later($person, rand 1, \&_visit);
    }
    while ($self->{busy} && time < $self->{until} + 45) {
        $self->_fire;
        $self->_wait;
        $self->_flush if length $self->{lines} > 65536;
    }
    $self->_note('wrong', "$self->{busy} people never got an answer") if $self->{busy};
    $self->_flush;
    close $self->{file} or die "$self->{journal}: $!\n";
    return $self->{count};
}

sub _note ($self, @words) { $self->{lines} .= "@words\n" }

sub _us ($time) { int($time * 1_000_000) }

# "2026-11-24T12:00:00.123456Z" in microseconds; 0 for none.
sub _time_in ($body, $name) {
    state %days;
    my ($day, $hour, $minute, $second, $rest) = $body =~ /"$name":"([\d-]+)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?Z"/ or return 0;
    $days{$day} //= do { my ($year, $month, $n) = split /-/, $day; Time::Local::timegm(0, 0, 0, $n, $month - 1, $year) };
    return ($days{$day} + 3600 * $hour + 60 * $minute + $second) * 1_000_000 + substr(($rest // '') . '000000', 0, 6);
}

sub _flush ($self) {
    print { $self->{file} } $self->{lines};
    $self->{file}->flush;
    $self->{lines} = '';
}

# ---- time

sub _later ($self, $person, $seconds, $code) {
    push @{ $self->{timers}{ int((time + $seconds) / TICK) } }, [ $person, $code ];
}

sub _fire ($self) {
    my $now = int(time / TICK);
    for my $tick (grep { $_ <= $now } keys %{ $self->{timers} }) {
        for my $timer (@{ delete $self->{timers}{$tick} }) {
            my ($person, $code) = @$timer;
            $code->($self, $person);
        }
    }
    if (time > ($self->{looked} // 0) + 1) {
        $self->{looked} = time;
        $_->{sent} < time - TIMEOUT && $self->_broken($_) for values %{ $self->{flying} };
        die "the storm is gone\n" if getppid != $self->{storm};
    }
}

# ---- HTTP

# Asks and calls $done->($self, $person, $status, $body) when there is an answer that says something. once: not repeated when
# nobody knows what became of it; then the status is 0. gated: it uses the queue token.
sub _ask ($self, $person, $name, $method, $path, $done, %o) {
    my $body = $o{body};
    $person->{place}{asked} //= _us(time) if $o{gated} && $person->{place};
    $person->{request} = { name => $name, done => $done, once => $o{once}, gated => $o{gated} };
    $person->{bytes}   = join "\r\n", "$method $path HTTP/1.1", 'Host: usher.test',
        ($o{nobody} ? () : "Authorization: Bearer $person->{jwt}"),
        (defined $person->{token} ? "Queue-Token: $person->{token}" : ()),
        (defined $o{key} ? "Idempotency-Key: $o{key}" : ()),
        (defined $body || $method eq 'POST'
        ? ('Content-Type: application/json', 'Content-Length: ' . length($body // ''))
        : ()),
        '', $body // '';
    $self->_send($person);
}

sub _send ($self, $person) {
    $person->{socket} //= IO::Socket::INET->new(PeerAddr => $self->{address}, Timeout => 2);
    if (!$person->{socket}) {
        $self->_again($person, 'refused');
        return;
    }
    $person->{sent} = time;
    $person->{in}   = '';
    $self->{flying}{ fileno $person->{socket} } = $person;
    my $sent = syswrite $person->{socket}, $person->{bytes};
    $self->_broken($person) if ($sent // 0) != length $person->{bytes};
}

sub _wait ($self) {
    my $bits = '';
    vec($bits, $_, 1) = 1 for keys %{ $self->{flying} };
    select(my $ready = $bits, undef, undef, TICK) > 0 or return;
    for my $fd (keys %{ $self->{flying} }) {
        my $person = $self->{flying}{$fd} // next;
        $self->_read($person) if vec $ready, $fd, 1;
    }
}

sub _read ($self, $person) {
    my $got = sysread $person->{socket}, $person->{in}, 65536, length $person->{in};
    return $self->_broken($person) if !$got;
    my $end = index $person->{in}, "\r\n\r\n";
    return if $end < 0;
    my $head   = substr $person->{in}, 0, $end;
    my $status = substr $head, 9, 3;
    my $body   = substr $person->{in}, $end + 4;
    if ($head =~ /\r\nContent-Length: (\d+)/i) {
        return if length $body < $1;
    }
    elsif ($head =~ /\r\nTransfer-Encoding: chunked/i) {
        return if $body !~ /(?:^|\r\n)0\r\n\r\n\z/;
        $body =~ s/(?:^|\r\n)[0-9a-f]+\r\n//g;
    }
    delete $self->{flying}{ fileno $person->{socket} };
    delete $person->{socket} if $head =~ /\r\nConnection: close/i;
    $self->_answered($person, $status, $body, $head);
}

sub _broken ($self, $person) {
    delete $self->{flying}{ fileno $person->{socket} };
    delete $person->{socket};
    $self->_again($person, 'broken');
}

sub _again ($self, $person, $what) {
    my $request = $person->{request};
    $self->{count}{"$request->{name} $what"}++;
    $self->_cut_off($person);
    return $request->{done}->($self, $person, 0, '') if $request->{once} && $what eq 'broken';
    $self->_later($person, 0.05 + rand 0.3, \&_send);
}

sub _answered ($self, $person, $status, $body, $head) {
    my $request = $person->{request};
    $self->{count}{"$request->{name} $status"}++;
    return $self->_wrong($person, "$request->{name}, without Retry-After", $status, $body)
        if ($status == 503 || $status == 429) && $head !~ /^Retry-After: [1-9]\d*\r?$/mi;
    return $self->_wrong($person, $request->{name}, $status, $body) if $status >= 500 && $status != 503;
    $self->_cut_off($person) if $status >= 500;
    return $self->_later($person, 0.05 + rand 0.3, \&_send)
        if !($request->{once} && $status >= 500) && ($status >= 500 || $status == 429 || $body =~ /"code":"idempotency-key-in-use"/);
    $status = 0 if $status >= 500;
    $request->{done}->($self, $person, $status, $body);
}

sub _code ($body) { $body =~ /"code":"([^"]*)"/ ? $1 : '-' }

# An answer that none of the right ones explains; the person goes home.
sub _wrong ($self, $person, $what, $status, $body) {
    $self->_note('wrong', "user $person->{user}: $what: $status " . substr $body =~ tr/\n/ /r, 0, 200);
    $self->_home($person);
}

# ---- a visit

sub _key ($self, $person) { join '-', 'storm', $person->{user}, ++$self->{keys} }

# A new person, or now and then the same one again.
sub _visit ($self, $person) {
    return $self->_home($person) if time > $self->{until};
    if (!$person->{user} || rand() < 0.7) {
        $person->{user} = $self->{first} + $self->{users}++;
        $person->{jwt}  = $self->{jwt}->($person->{user});
        $person->{paid} = 0;
        $person->{money} = 0;
        delete @$person{qw(place used_up)};
    }
    delete @$person{qw(token reservation)};
    $person->{after} = \&_look_around;
    $self->_join($person);
}

sub _home ($self, $person) {
    if (time > $self->{until}) {
        delete $person->{socket};
        $self->{busy}--;
        return;
    }
    $self->_later($person, rand 0.2, \&_visit);
}

sub _join ($self, $person) {
    delete $person->{token};
    $self->_ask($person, 'join', POST => '/v1/queue/tokens', \&_joined);
}

sub _joined ($self, $person, $status, $body) {
    return $self->_wrong($person, 'join', $status, $body) if $status != 200 && $status != 201;
    ($person->{token}) = $body =~ /"token":"([^"]+)"/;
    my ($ticket) = $body =~ /"ticket":(\d+)/;
    $self->_lost($person) if $person->{place} && $person->{place}{ticket} != $ticket;
    $person->{place} //= { ticket => $ticket, issued => _time_in($body, 'issued_at') };
    $self->_seen($person, $body);
    return $person->{after}->($self, $person) if $body =~ /"status":"active"/;
    $self->_wait_in_line($person);
}

sub _wait_in_line ($self, $person) {
    return $self->_home($person) if time > $self->{until};
    $self->_later($person, 0.1 + rand 0.4, \&_poll);
}

sub _poll ($self, $person) {
    $self->_ask($person, 'poll', GET => '/v1/queue/tokens/me', \&_polled, nobody => 1);
}

sub _polled ($self, $person, $status, $body) {
    if ($status == 404) {
        $self->_lost($person);
        return $self->_join($person);
    }
    return $self->_wrong($person, 'poll', $status, $body) if $status != 200;
    $self->_note('wrong', "user $person->{user}: ticket $person->{place}{ticket} has become another one: $body")
        if $body !~ /"ticket":$person->{place}{ticket}\b/;
    $self->_seen($person, $body);
    return $person->{after}->($self, $person) if $body =~ /"status":"active"/;
    $self->_wait_in_line($person);
}

# A hold without an answer may still be under way: it has lifted the token's life, and takes that back should it come to nothing.
sub _cut_off ($self, $person) {
    $person->{place}{lifted} = 1 if $person->{place} && $person->{request}{name} eq 'hold';
}

# The line has told where the place stands; of one that may be lifted only what was known before counts.
sub _seen ($self, $person, $body) {
    my $place = $person->{place};
    my $seen  = _us($person->{sent});
    my $told  = _time_in($body, 'active_until');
    if ($place->{lifted} && $place->{told}) {
        $place->{told} = List::Util::min($told, $place->{told});
        $place->{seen} = $seen;
    }
    else {
        @$place{qw(told since used held seen)} = ($told, $seen, 0, 0, $seen);
    }
    delete $place->{asked};
}

# A gated request has been let through, if so to hold seats until then. It may have got through before its answer did.
sub _let_in ($self, $person, $until = 0) {
    my $place = $person->{place} // return;
    $place->{used} ||= $place->{asked};
    $place->{held} = List::Util::max($place->{held}, $until);
    $place->{seen} = _us($person->{sent});
}

# The place is gone. Whether that may be, Storm::Books judges. But a ticket that has paid is used up: should that be told to Redis
# only now (it was away), it is not lost.
sub _lost ($self, $person) {
    my $place = delete $person->{place} // return;
    return if $place->{ticket} == ($person->{used_up} // 0);
    $self->_note('lost', $person->{user}, @$place{qw(ticket issued told since used held seen)}, _us(time));
}

# The gate did not let a request through: back into the line, then on with $after. True when that was it.
sub _turned_away ($self, $person, $status, $body, $after) {
    return 0 if !($status == 401 && $body =~ /queue-token/ || $status == 403 && $body =~ /not-admitted/);
    $self->_lost($person) if $status == 401;
    $person->{after} = $after;
    $self->_join($person);
    return 1;
}

my @places = (
    [ concerts => sub ($self) { '/v1/concerts?size=20&page=' . int rand 3 } ],
    [ concerts => sub ($self) { '/v1/concerts?limit=' . (5 + int rand 5) } ],
    [ concert  => sub ($self) { '/v1/concerts/' . (1 + int rand 20) } ],
    [ schedules => sub ($self) {'/v1/concerts/1/schedules'} ],
    [ seats     => sub ($self) { '/v1/schedules/' . $self->_hall->[0] . '/seats' } ],
    [ balance   => sub ($self) {'/v1/balance'} ],
);

# The halls that everybody wants just now: three of them, moving on through all as time passes.
sub _hall ($self) {
    my $halls = $self->{halls};
    my $share = (time - $self->{from}) / ($self->{until} - $self->{from} || 1);
    my $first = int(($share > 1 ? 1 : $share < 0 ? 0 : $share) * (@$halls - 3));
    return $halls->[ $first + int rand 3 ];
}

sub _look_around ($self, $person) {
    $person->{looks} //= 1 + int rand 3;
    if ($person->{looks}-- <= 0) {
        delete $person->{looks};
        return $self->_charge($person);
    }
    my $place = $places[ rand @places ];
    $self->_ask($person, $place->[0], GET => $place->[1]->($self), \&_looked, gated => $place->[0] ne 'balance');
}

sub _looked ($self, $person, $status, $body) {
    return if $self->_turned_away($person, $status, $body, \&_look_around);
    return $self->_wrong($person, 'look', $status, $body) if $status != 200;
    $self->_let_in($person) if $person->{request}{gated};
    $self->_look_around($person);
}

# ---- money

sub _charge ($self, $person) {
    $person->{tries} = 0;
    return $self->_hold($person) if $person->{money} >= 3 * PRICE || rand() < 0.05;
    $self->_put_money($person);
}

sub _put_money ($self, $person) {
    my ($key, $amount) = ($self->_key($person), CHARGE + int rand 1000);
    $self->_note('want-charge', $key, $person->{user}, $amount);
    $person->{charging} = [ $key, $amount ];
    $self->_ask($person, 'charge', POST => '/v1/balance/charges', \&_charged, key => $key, body => qq({"amount":$amount}));
}

sub _charged ($self, $person, $status, $body) {
    my ($key, $amount) = @{ $person->{charging} };
    my ($id, $said) = $body =~ /"id":(\d+),"amount":(\d+)/;
    return $self->_wrong($person, 'charge', $status, $body) if $status != 201 || ($said // 0) != $amount;
    $self->_note('charge', $key, $person->{user}, $amount, $id);
    $person->{money} += $amount;
    return $self->_pay($person) if $person->{reservation};
    $self->_hold($person);
}

# ---- seats

sub _hold ($self, $person) {
    my ($schedule, @seats) = @{ $self->_hall };
    my %wanted = map { ($seats[ rand @seats ] => 1) } 1 .. 1 + int rand 3;
    my @wanted = sort { $a <=> $b } keys %wanted;
    my $key    = rand() < 0.85 ? $self->_key($person) : undef;
    $person->{wish} = { key => $key, schedule => $schedule, seats => join(',', @wanted), count => scalar @wanted };
    $self->_note('want-hold', $key // '-', $person->{user}, $schedule, $person->{wish}{seats});
    $self->_send_hold($person);
}

sub _send_hold ($self, $person) {
    my $wish = $person->{wish};
    $self->_ask(
        $person, 'hold', POST => '/v1/reservations', \&_held, gated => 1,
        key  => $wish->{key}, once => !defined $wish->{key},
        body => qq({"schedule_id":$wish->{schedule},"seat_ids":[$wish->{seats}]})
    );
}

sub _held ($self, $person, $status, $body) {
    my $wish = $person->{wish};
    return $self->_ask($person, 'reservations', GET => '/v1/reservations', \&_seen_own) if $status == 0;
    return if $self->_turned_away($person, $status, $body, \&_send_hold);
    if ($status == 409) {
        $self->_note('refused-hold', $wish->{key} // '-', $person->{user}, _code($body), _us(time));
        $self->_let_in($person);
        return $self->_leave($person) if ++$person->{tries} > 3;
        return $self->_hold($person);
    }
    return $self->_wrong($person, 'hold', $status, $body) if $status != 201;
    my ($id) = $body =~ /^\{"id":(\d+)/;
    my $seats = join ',', $body =~ /"seat_id":(\d+)/g;
    return $self->_wrong($person, "hold of $wish->{seats}", $status, $body) if !$id || $seats ne $wish->{seats};
    my $deadline = _time_in($body, 'expires_at');
    $self->_let_in($person, $deadline);
    $self->_has_held($person, $id, $deadline);
}

# After a hold without a key and without an answer: what do I have?
sub _seen_own ($self, $person, $status, $body) {
    return $self->_wrong($person, 'own reservations', $status, $body) if $status != 200;
    my $wish = $person->{wish};
    for my $one (split /(?=\{"id":\d+,"schedule_id")/, $body) {
        my ($id, $state) = $one =~ /^\{"id":(\d+),.*?"status":"(\w+)"/ or next;
        my $seats = join ',', $one =~ /"seat_id":(\d+)/g;
        return $self->_has_held($person, $id, _time_in($one, 'expires_at')) if $state eq 'held' && $seats eq $wish->{seats};
    }
    $self->_hold($person);
}

sub _has_held ($self, $person, $id, $deadline) {
    my $wish = $person->{wish};
    $self->_note('hold', $wish->{key} // '-', $person->{user}, $wish->{schedule}, $wish->{seats}, $id, $deadline);
    $person->{reservation} = $id;
    $person->{price}       = $wish->{count} * PRICE;
    my $fate = rand;
    return $self->_pay($person)    if $fate < 0.6;
    return $self->_cancel($person) if $fate < 0.8;
    return $self->_leave($person)  if $fate < 0.9;
    return $self->_home($person)   if $fate < 0.95 || time > $self->{until} - 12;
    $self->_later($person, $deadline / 1_000_000 - time + LATE_FROM + rand LATE, \&_pay);    # at the last moment, or after it
}

sub _cancel ($self, $person) {
    $self->_note('want-cancel', $person->{user}, $person->{reservation}, _us(time));
    $self->_ask($person, 'cancel', DELETE => "/v1/reservations/$person->{reservation}", \&_cancelled);
}

sub _cancelled ($self, $person, $status, $body) {
    return $self->_wrong($person, 'cancel', $status, $body) if $status != 204;
    $self->_note('cancel', $person->{user}, $person->{reservation});
    $self->_leave($person);
}

# ---- paying

sub _pay ($self, $person) {
    $person->{paying} //= rand() < 0.9 ? $self->_key($person) : '-';
    $self->_note('want-pay', $person->{paying}, $person->{user}, $person->{reservation});
    $self->_send_pay($person);
}

sub _send_pay ($self, $person) {
    my $key = $person->{paying};
    $self->_ask(
        $person, 'pay', POST => '/v1/payments', \&_paid, gated => 1,
        key  => $key eq '-' ? undef : $key,
        body => qq({"reservation_id":$person->{reservation}})
    );
}

sub _paid ($self, $person, $status, $body) {
    return if !$person->{payment} && $self->_turned_away($person, $status, $body, \&_send_pay);
    return $self->_put_money($person) if $status == 402;    # then it pays again
    my @who = ($person->{paying}, $person->{user}, $person->{reservation});
    if ($status == 201) {
        my ($id, $price) = ($body =~ /^\{"id":(\d+)/, $body =~ /"price":(\d+)/);
        return $self->_wrong($person, 'pay', $status, $body) if !$id || $price != $person->{price};
        $self->_note('pay', @who, $id);
        $self->_note('wrong', "user $person->{user}: payment $id repeated is payment $person->{payment}")
            if ($person->{payment} // $id) != $id;
        $person->{money} -= $price if !$person->{payment};
        $person->{payment} = $id;
        $self->_used_up($person);
        return $self->_send_pay($person) if $person->{paying} ne '-' && rand() < 0.1;    # a second click
        return $self->_look_back($person);
    }
    my $code = _code($body);
    if ($code eq 'already-paid' && $person->{paying} eq '-') {
        $self->_note('pay', @who, '-');
        $person->{money} -= $person->{price};
        $self->_used_up($person);
        return $self->_look_back($person);
    }
    return $self->_wrong($person, 'pay', $status, $body) if $status != 410 || $person->{payment};
    $self->_note('refused-pay', @who, $code, _us(time));
    delete $person->{paying};
    $self->_leave($person);
}

sub _used_up ($self, $person) {
    my $place = delete $person->{place} // return;
    $person->{used_up} = $place->{ticket};
}

# After a payment: its page, the wallet, the reservations.
sub _look_back ($self, $person) {
    my $payment = delete $person->{payment};
    delete @$person{qw(paying reservation)};
    my @paths = ('/v1/balance', '/v1/balance/entries', '/v1/reservations', defined $payment ? "/v1/payments/$payment" : ());
    my $path  = $paths[ rand @paths ];
    $self->_ask($person, 'look-back', GET => $path, \&_looked_back);
}

sub _looked_back ($self, $person, $status, $body) {
    return $self->_wrong($person, 'look back', $status, $body) if $status != 200;
    $self->_home($person);
}

sub _leave ($self, $person) {
    delete @$person{qw(paying reservation)};
    return $self->_home($person) if !defined $person->{token} || rand() < 0.2;
    $self->_ask($person, 'leave', DELETE => '/v1/queue/tokens/me', \&_left, nobody => 1);
}

sub _left ($self, $person, $status, $body) {
    return $self->_wrong($person, 'leave', $status, $body) if $status != 204;
    delete $person->{place};
    $self->_home($person);
}

1;
