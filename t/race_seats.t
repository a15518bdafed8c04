# Many want the same seats: one gets each, the others are refused by the doorman without PostgreSQL, nobody gets a part of
# what was asked for, and losing the doorman's memory sells nothing twice. Each race is run again without its guard.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use List::Util qw(all shuffle sum0);
use Test::More;
use Usher::Process;
use Usher::Race;
use Usher::Stack;

my $usher = Usher::Stack->new(
    workers  => 8,
    config   => {%PATIENT},
    postgres => $LOGGING,
);
my ($concert) = $usher->concerts(1);
my ($schedule, @seats) = $usher->schedule($concert, seats => 130);
my %schedule_of = map { $_ => $schedule } @seats;
my @people      = people($usher, 60);
my $index       = query($usher, q{SELECT indexdef FROM pg_indexes WHERE indexname = 'one_live_ticket_for_a_seat'});

# Between looking at the seats and taking them.
slowly($usher, 'usher_hold', 'v_until :=', 0.02);

sub wish ($person, @wanted) {
    return [
        POST  => '/v1/reservations',
        user  => $person->{user},
        token => $person->{token},
        body  => { schedule_id => $schedule_of{ $wanted[0] }, seat_ids => \@wanted }
    ];
}

sub without_index ($code) { ruined($usher, 'DROP INDEX one_live_ticket_for_a_seat', $index, $code) }

# Somebody looks at the seats: after this the doorman knows them.
sub look () {
    $usher->get("/v1/schedules/$schedule/seats", user => $people[0]{user}, token => $people[0]{token})->status == 200 or
      die "the seats cannot be seen\n";
}

sub live_seats (@of) {
    my $list = join ',', @of;
    return sum0 query($usher,
        "SELECT count(*) FROM reservation_ticket WHERE seat_id IN ($list) AND live");
}

subtest '50 users want one seat' => sub {
    my $race = sub ($seat) {
        my @r;
        my $traffic = traffic(
            $usher,
            sub {
                @r = burst($usher, map { wish($_, $seat) } @people[ 0 .. 49 ]);
            }
        );
        my @told = grep { $_->status == 409 } @r;
        return {
            tally      => tally(@r),
            statements => scalar @{ $traffic->{statements} },
            named      => scalar(grep { "@{ $_->json->{conflicting_seat_ids} // [] }" eq $seat } @told),
            live       => live_seats($seat),
            %$traffic{connections},
        };
    };
    look();
    my $with = $race->($seats[0]);
    is_deeply($with->{tally}, { 201 => 1, '409 seat-unavailable' => 49 }, 'one 201, the others 409 seat-unavailable');
    is($with->{live},       1,  'one ticket');
    is($with->{named},      49, 'everybody who was refused is told which seat');
    is($with->{statements}, 1,  'PostgreSQL was asked once: by the one who got it');
    cmp_ok($with->{connections}, '<=', 1, 'and nobody else connected to it');

    my $again = traffic(
        $usher,
        sub {
            burst($usher, map { wish($_, $seats[0]) } @people[ 0 .. 49 ]);
        }
    );
    is_deeply($again, { connections => 0, statements => [] }, 'a taken seat costs PostgreSQL nothing at all');

    without(
        $usher,
        ['doorman'],
        sub {
            my $off = $race->($seats[1]);
            is_deeply(
                $off->{tally},
                { 201 => 1, '409 seat-unavailable' => 49 },
                'without the doorman PostgreSQL decides the same'
            );
            cmp_ok($off->{statements}, '>=', 50, 'but is asked by everybody (guard off: doorman)');
            without_index(
                sub {
                    cmp_ok($race->($seats[2])->{live},
                        '>', 1, 'without the unique index too, the seat is sold twice (guards off)');
                }
            );
        }
    );
    is_deeply([ breaches($usher) ], [], 'nothing is wrong');
};

subtest 'overlapping wishes: all seats or none' => sub {
    my $race = sub (@hall) {
        my $n      = @hall;
        my @wishes = map {
            my $i = $_;
            [ map { $hall[ ($i + $_) % $n ] } 0 .. 2 ]
        } 0 .. 2 * $n - 1;
        my @r     = burst($usher, map { wish($people[$_], shuffle @{ $wishes[$_] }) } 0 .. $#wishes);
        my @won   = map { $_->json } grep { $_->status == 201 } @r;
        my $whole = query($usher,
            'SELECT count(*) FROM (SELECT FROM reservation r JOIN reservation_ticket t ON t.reservation_id = r.id WHERE r.id IN ('
              . join(',', 0, map { $_->{id} } @won)
              . ') GROUP BY r.id HAVING count(*) = 3) AS whole');
        return { tally => tally(@r), won => \@won, whole => $whole, live => live_seats(@hall) };
    };
    my @hall = @seats[ 10 .. 21 ];
    my $with = $race->(@hall);
    my $won  = @{ $with->{won} };
    is_deeply($with->{tally}, { 201 => $won, '409 seat-unavailable' => 24 - $won }, 'everybody is served or refused');
    cmp_ok($won, '>=', 2, 'more than one is served');
    is($with->{whole}, $won,     'whoever is served has all three seats');
    is($with->{live},  3 * $won, 'whoever is refused has none');
    my %hall  = map  { $_ => 1 } @hall;
    my @claim = grep { my ($key, $seat) = split; $key eq "s:{main}:$schedule:seats" && $hall{$seat} } $usher->claims;
    is_deeply(
        [ sort @claim ],
        [
            sort { $a cmp $b } query(
                $usher,
                q{SELECT 's:{main}:' || t.schedule_id || ':seats ' || seat_id || ' held ' || user_id
                  FROM reservation_ticket t JOIN reservation r ON r.id = t.reservation_id WHERE r.status = 'held'
                  AND seat_id BETWEEN $1 AND $2}, $hall[0], $hall[-1]
            )
        ],
        'the doorman holds exactly the seats that are held'
    );
    without(
        $usher,
        ['doorman'],
        sub {
            my $off = $race->(@seats[ 30 .. 41 ]);
            is($off->{live},  3 * $off->{whole},       'PostgreSQL alone: all or none as well');
            is($off->{whole}, scalar @{ $off->{won} }, 'and everybody with a 201 has all of it');
            is_deeply([ breaches($usher) ], [], 'no seat twice');
            without_index(
                sub {
                    $race->(@seats[ 50 .. 61 ]);
                    like(
                        join('; ', breaches($usher)),
                        qr/live tickets/,
                        'without the unique index seats are held twice (guards off)'
                    );
                }
            );
        }
    );
};

# Runs the code while a redis-cli does this to the doorman again and again.
sub while_doorman_forgets ($code, @command) {
    my $loop = Usher::Process->start(
        command => [ 'redis-cli', '-s', $usher->{redis}{socket}, '-r', 100_000, '-i', '0.004', @command ],
        log     => "$usher->{dir}/forget.log",
        dir     => $usher->{dir},
    );
    Usher::Process::until_true(sub { -s "$usher->{dir}/forget.log" });
    $code->();
    $loop->stop;
}

subtest 'the doorman forgets in the middle' => sub {
    my $race = sub {
        my ($hall, @hall) = $usher->schedule($concert, seats => 30);
        $schedule_of{$_} = $hall for @hall;
        my @r;
        while_doorman_forgets(
            sub {
                for my $round (0 .. 2) {
                    my @crowd = shuffle @people;
                    push @r, burst($usher, map { wish($crowd[$_], $hall[ $_ / 2 ]) } 0 .. $#crowd);
                }
            },
            'DEL',
            "s:{main}:$hall:seats"
        );
        push @r, burst($usher, map { wish($people[ $_ + 30 ], $hall[$_]) } 0 .. $#hall);    # what is left, in peace
        return (\@hall, @r);
    };
    my ($hall, @r) = $race->();
    my $tally = tally(@r);

    # 503: the doorman lost his memory faster than he could be told.
    is(
        join(' ', grep { !/seat-limit|^503/ } sort keys %$tally),
        '201 409 seat-unavailable',
        'people are served or refused'
    );
    is($tally->{201},      live_seats(@$hall), 'one ticket for each 201');
    is(live_seats(@$hall), scalar @$hall,      'every seat is taken');
    is_deeply([ breaches($usher) ], [], 'none of them twice');
    without_index(
        sub {
            like(
                eventually(sub { $race->(); join '; ', breaches($usher) }),
                qr/live tickets/,
                'without the unique index seats are held twice (guard off)'
            );
        }
    );
};

subtest 'Redis loses everything' => sub {
    my @hall   = @seats[ 70 .. 89 ];
    my @buyers = @people[ 0 .. 19 ];
    $usher->charge($_->{user}, 1000) for @buyers[ 0 .. 4 ];
    my @held = burst($usher, map { wish($buyers[$_], $hall[$_]) } 0 .. $#hall);
    is_deeply(tally(@held), { 201 => 20 }, 'twenty seats are held');
    my @paid = burst(
        $usher,
        map {
            [
                POST  => '/v1/payments',
                user  => $buyers[$_]{user},
                token => $buyers[$_]{token},
                body  => { reservation_id => $held[$_]->json->{id} }
            ]
        } 0 .. 4
    );
    is_deeply(tally(@paid), { 201 => 5 }, 'five of them are paid');
    ask($usher, 'FLUSHALL');
    my @r;
    for (1 .. 5) {    # the first answers may be 503 while the line is restored
        @r = burst($usher, map { wish($people[ 20 + $_ ], $hall[$_]) } 0 .. $#hall);
        last if !grep { $_->status == 503 } @r;
    }
    is_deeply(tally(@r),            { '409 seat-unavailable' => 20 }, 'after FLUSHALL nobody else gets them');
    is_deeply([ breaches($usher) ], [],                               'nothing is wrong');
};

subtest 'one user asks for more than the limit in pieces' => sub {
    my $race = sub ($person, @wanted) {
        my @r = burst($usher, map { wish($person, $_) } @wanted);
        return (tally(@r), live_seats(@wanted));
    };
    my ($tally, $live) = $race->($people[50], @seats[ 90 .. 99 ]);
    is_deeply($tally, { 201 => 4, '409 seat-limit' => 6 }, 'four single seats, then 409 seat-limit');
    is($live,                                                           4, 'four seats are held');
    is(scalar(grep { (split)[3] == $people[50]{user} } $usher->claims), 4, 'and no other is blocked at the doorman');
    without(
        $usher,
        ['user-lock'],
        sub {
            cmp_ok(($race->($people[51], @seats[ 100 .. 109 ]))[1],
                '>', 4, 'more than that without the lock (guard off: user-lock)');
        }
    );
};

done_testing;
