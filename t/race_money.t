# Many requests about the same money at once: one payment, the exact sum of all charges, one effect for each key, and a
# reservation that is paid or cancelled, never both. Each race is run again without its guard, where it must go wrong.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(uniq);
use Test::More;
use Usher::Race;
use Usher::Stack;

my $usher = Usher::Stack->new(workers => 8, config => {%PATIENT});
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 150, price => 700);
my @people = people($usher, 100);

# Between reading the balance or the reservation and writing it.
slowly($usher, 'usher_charge', 'v_now := usher_clock();',           0.01);
slowly($usher, 'usher_charge', 'UPDATE asset a SET balance',        'random() * 0.01');
slowly($usher, 'usher_charge', 'INSERT INTO asset',                 0.01);
slowly($usher, 'usher_pay',    '-- Paying and expiring both begin', 0.01);

# The next person, with money and a held seat: {user, token, reservation}.
sub buyer ($money) {
    my $one = shift @people;
    $usher->charge($one->{user}, $money) if $money;
    $one->{reservation} = $usher->hold($one->{user}, $one->{token}, $schedule, shift @seats)->{id};
    return $one;
}

sub payment ($one, @more) {
    return [
        POST  => '/v1/payments',
        user  => $one->{user},
        token => $one->{token},
        body  => { reservation_id => $one->{reservation} },
        @more
    ];
}

sub charge ($user, $amount, $key) {
    return [ POST => '/v1/balance/charges', user => $user, key => $key, body => { amount => $amount } ];
}

sub balance  ($user) { $usher->get('/v1/balance', user => $user)->json->{balance} }
sub entries  ($user) { 0 + query($usher, 'SELECT count(*) FROM ledger WHERE user_id = $1', $user) }
sub payments ($one) { 0 + query($usher, 'SELECT count(*) FROM payment WHERE reservation_id = $1', $one->{reservation}) }

sub replayed (@r) {
    scalar grep { $_->header('Idempotent-Replayed') } @r;
}

sub bodies (@r) {
    scalar uniq map { $_->body } @r;
}

sub with_status ($s, @r) {
    grep { $_->status == $s } @r;
}

# Neither a lock on the user nor one on the key.
sub without_locks ($code) {
    without(
        $usher,
        ['user-lock'],
        sub {
            my $lock = query(
                $usher, q{SELECT translate(encode(convert_to(pg_get_functiondef('usher_lock_key'::regproc), 'UTF8'),
            'base64'), E'\n', '')}
            );
            query(
                $usher, q{CREATE OR REPLACE FUNCTION usher_lock_key(p_user bigint, p_key text) RETURNS boolean
            LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN true; END'}
            );
            $code->();
            query($usher, MIME::Base64::decode($lock));
        }
    );
}

subtest '20 identical payments without a key' => sub {
    my $race = sub {
        my $one = buyer(2000);
        return ($one, burst($usher, (payment($one)) x 20));
    };
    my ($one, @r) = $race->();
    is_deeply(tally(@r), { 201 => 1, '409 already-paid' => 19 }, 'one 201, the others 409 already-paid');
    is(balance($one->{user}), 1300, 'the price is taken once');
    is(payments($one),        1,    'one payment');
    without(
        $usher,
        ['pay-only-held'],
        sub {
            my ($one, @off) = $race->();
            isnt(tally(@off)->{'409 already-paid'},
                19, 'others are told something else without the condition (guard off: pay-only-held)');
            is(payments($one), 1, 'though the constraints still let one through');
            ruined(
                $usher,
                'DROP INDEX one_payment_for_a_reservation; ALTER TABLE ledger DROP CONSTRAINT ledger_reservation_fkey',
                'CREATE UNIQUE INDEX one_payment_for_a_reservation ON ledger (reservation_id) WHERE reservation_id IS NOT NULL;
                    ALTER TABLE ledger ADD CONSTRAINT ledger_reservation_fkey FOREIGN KEY
                    (user_id, reservation_id, amount, created_at) REFERENCES reservation (user_id, id, total_price, completed_at)',
                sub {
                    my ($one) = $race->();
                    cmp_ok(payments($one), '>', 1, 'it is paid more than once without the constraints (guards off)');
                }
            );
        }
    );
};

subtest '20 identical payments with one key' => sub {
    my $race = sub {
        my $one = buyer(2000);
        return ($one, burst($usher, (payment($one, key => 'pay')) x 20));
    };
    my ($one, @r) = $race->();
    my @paid  = with_status(201, @r);
    my $tally = tally(@r);
    is(join(' ', sort keys %$tally) =~ s/ 409 idempotency-key-in-use//r, '201', '201, or 409 idempotency-key-in-use');
    is(replayed(@paid),       @paid - 1, 'one is the payment, every other 201 is its replay');
    is(bodies(@paid),         1,         'with the same body');
    is(payments($one),        1,         'one payment');
    is(balance($one->{user}), 1300,      'the price is taken once');
    without_locks(
        sub {
            my (undef, @off) = $race->();
            my $off = tally(@off);
            isnt(join(' ', sort keys %$off) =~ s/ 409 idempotency-key-in-use//r,
                '201', 'others fail without the locks (guards off)');
        }
    );
    is_deeply([ breaches($usher) ], [], 'nothing is wrong');
};

subtest '20 charges at once' => sub {
    my $user = 10;
    my $race = sub {
        $user++;
        my @r = burst($usher, map { charge($user, 100 + $_, "charge-$_") } 1 .. 20);
        return (tally(@r), bodies(@r));
    };
    my ($tally, $bodies) = $race->();
    is_deeply($tally, { 201 => 20 }, 'all are made');
    is($bodies,        20,   'each has an answer of its own');
    is(balance($user), 2210, 'the balance is their exact sum');
    is(entries($user), 20,   'and the ledger has each');
    is_deeply([ breaches($usher) ], [], 'nothing is wrong');
    without(
        $usher,
        ['user-lock'],
        sub {
            my $first = $user + 1;
            my ($off, @wrong);
            eventually(
                sub {
                    ($off)  = $race->();
                    @wrong = grep {/^ledger entry \d+: balance \d+, but user ${user}'s entries make/} breaches($usher);
                    $off->{201} != 20 && @wrong;
                }
            );
            isnt($off->{201}, 20, 'without the lock some fail to make the new wallet (guard off: user-lock)');
            ok(@wrong > 0, 'the entries are out of order, and the books say so');
            is(balance($user), query($usher, 'SELECT sum(amount) FROM ledger WHERE user_id = $1', $user),
                'though no money is lost: each adds to what is there');
            $usher->psql("SET session_replication_role = replica; DELETE FROM idempotency_key WHERE user_id BETWEEN $first AND $user;
                DELETE FROM ledger WHERE user_id BETWEEN $first AND $user; DELETE FROM asset WHERE user_id BETWEEN $first AND $user")
        }
    );
};

subtest '20 charges with one key' => sub {
    my $user = 50;
    my $race = sub {
        $usher->charge(++$user, 1);
        burst($usher, (charge($user, 500, 'same')) x 20);
    };
    my @r     = $race->();
    my @made  = with_status(201, @r);
    my $tally = tally(@r);
    is(join(' ', sort keys %$tally) =~ s/ 409 idempotency-key-in-use//r, '201', '201, or 409 idempotency-key-in-use');
    is(replayed(@made), @made - 1, 'one is the charge, every other 201 is its replay');
    is(bodies(@made),   1,         'with the same body');
    is(balance($user),  501,       'one charge');
    is(entries($user),  2,         'one entry');
    without_locks(
        sub {
            is_deeply(tally($race->()), { 201 => 20 }, 'without the locks they wait for the key itself (guards off)');
            is(entries($user), 2, 'which lets one through');
            ruined(
                $usher,
                'ALTER TABLE idempotency_key DROP CONSTRAINT idempotency_key_pkey',
                'ALTER TABLE idempotency_key ADD PRIMARY KEY (user_id, key)',
                sub {
                    $race->();
                    cmp_ok(entries($user), '>', 2, 'without it the charge is made more than once (guards off)');
                }
            );
        }
    );
};

subtest 'charges while paying' => sub {
    my $one = buyer(700);
    my @r   = burst($usher, (map { charge($one->{user}, 10, "while-$_") } 1 .. 10), payment($one));
    is_deeply(tally(@r), { 201 => 11 }, 'all are made');
    is(balance($one->{user}), 100, 'the balance is exact');
};

subtest 'cancel against pay' => sub {
    my $race = sub {
        my @buyers = map { buyer(700) } 1 .. 12;
        my @r      = burst($usher,
            map { payment($_), [ DELETE => "/v1/reservations/$_->{reservation}", user => $_->{user} ] } @buyers);
        my %pairs;
        while (my ($pay, $cancel) = splice @r, 0, 2) {
            $pairs{ join ' + ', sort map { (keys %{ tally($_) })[0] } $pay, $cancel }++;
        }
        my $ids  = join ',', map { $_->{reservation} } @buyers;
        my $paid = query($usher, "SELECT count(*) FROM reservation WHERE status = 'paid' AND id IN ($ids)");
        return (\%pairs, $paid);
    };
    my ($pairs, $paid) = $race->();
    my %good = map { $_ => $pairs->{$_} // 0 } '201 + 409 already-paid', '204 + 409 reservation-cancelled';
    is($good{'201 + 409 already-paid'} + $good{'204 + 409 reservation-cancelled'},
        12, 'paid or cancelled, and both are told which') or
      diag explain $pairs;
    is($paid, $good{'201 + 409 already-paid'}, 'and so it is');
    is_deeply([ breaches($usher) ], [], 'nothing is wrong');
    without(
        $usher,
        ['pay-only-held'],
        sub {
            my $off;
            cmp_ok(eventually(sub { ($off) = $race->(); $off->{'201 + 204'} // 0 }),
                '>', 0, 'some are both without the condition (guard off: pay-only-held)')
              or
              diag explain $off;
        }
    );
};

done_testing;
