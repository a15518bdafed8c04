#!/usr/bin/perl
# storm.pl: a box office under load while its parts are killed and come back; then its books are compared with what the crowd was
# told. Called by `./dev storm` and by t/storm.t; USHER_SRCDIR and USHER_BUILDDIR say what is tried.
use v5.36;
use FindBin;
use lib $FindBin::Bin, "$FindBin::Bin/../lib";
use Getopt::Long ();
use JSON::PP     ();
use List::Util   ();
use POSIX        ();
use Time::HiRes  qw(sleep time);

my $usage = <<'END';
Usage: ./dev storm [OPTION]...
Hundreds of people buy tickets from a private box office while its parts are killed, frozen, emptied and brought back. At the end
all that they were told is compared with what is in the books, and usherctl verify looks at everything.

  --minutes N    how long (a fraction is fine)                                  [10]
  --seed S       the order of what goes wrong and the crowd's wishes            [the time; it is in the report]
  --kills N      how many kills are planned; other things go wrong besides      [40 a minute]
  --people N     how many are there at a time                                   [300]
  --crowds N     in so many processes                                           [2]
  --folder DIR   keep the journals, the logs of the programs and the report in DIR
  --quiet        only the report

A kill ends a process by SIGKILL, shuts PostgreSQL down at once or terminates its backends; for three of them some other thing is
in the way: a frozen or emptied Redis, cut connections, a full disk. Only what has truly happened is counted.

Everything is private and in a temporary folder; nothing is left behind. A full disk is tried only as root.
Exit status: 0 all is right, 1 something differs (the report says what), 64 wrong usage, 130 interrupted.
END

my %o = (minutes => 10, people => 300, crowds => 2, seed => time % 1_000_000);
my @arguments = @ARGV;
Getopt::Long::GetOptions(\%o, 'minutes=f', 'seed=i', 'kills=i', 'people=i', 'crowds=i', 'folder=s', 'quiet', 'help')
    && !@ARGV
    or wrong_usage("see ./dev storm --help");
if ($o{help}) {
    print $usage;
    exit 0;
}
$o{seed}  = int $o{seed};
$o{kills} //= POSIX::ceil(40 * $o{minutes});
wrong_usage('--minutes, --kills, --people and --crowds are at least 1 (minutes: above 0)')
    if $o{minutes} <= 0 || $o{kills} < 1 || $o{crowds} < 1 || $o{people} < $o{crowds};

sub wrong_usage ($text) {
    print STDERR "storm: $text\n";
    exit 64;
}

# File systems that can be filled are mounted where nobody else sees them, and go with the last process.
my @alone = qw(unshare --mount --propagation private);
if ($> == 0 && !defined $ENV{USHER_STORM_MAY_MOUNT}) {
    $ENV{USHER_STORM_MAY_MOUNT} = system(@alone, 'sh', '-c', 'mount -t tmpfs none /mnt 2>/dev/null') == 0 ? 1 : 0;
    exec @alone, $^X, $0, @arguments if $ENV{USHER_STORM_MAY_MOUNT};
}

require Storm::Books;
require Storm::Box;
require Storm::Crowd;
require Storm::Weather;

use constant { HOLD => 10, CLAIM => 5, ACTIVE => 10, DOUBTFUL => 15, PROMOTE_PERIOD => 1, EXPIRE_PERIOD => 5, HALL => 200, HALLS_A_MINUTE => 20 };

sub progress ($text) { print STDERR "storm: $text\n" if !$o{quiet} }

progress("seed $o{seed}: starting PostgreSQL, Redis, the workers and nginx");
my $box = Storm::Box->new(
    config => {
        hold_ttl       => HOLD . 's',
        claim_window   => CLAIM . 's',
        active_ttl     => ACTIVE . 's',
        active_max     => $o{people},
        promote_batch  => 250,
        promote_period => PROMOTE_PERIOD . 's',
    }
);
$box->psql(Storm::Books::WATCH_HISTORY());
my ($concert) = $box->concerts(60);
my @halls = make_halls(4 + POSIX::ceil($o{minutes} * HALLS_A_MINUTE));

sub make_halls ($count) {
    return map { my ($schedule, $seats) = split /\|/; [ $schedule, split / /, $seats ] } $box->psql(
        q{WITH s AS (INSERT INTO concert_schedule (concert_id, place, concert_at, reservation_opens_at, reservation_closes_at)
            SELECT $1, 'Hall ' || i, now() + interval '90 days', now() - interval '1 hour', now() + interval '60 days'
            FROM generate_series(1, $2::int) i RETURNING id),
        e AS (INSERT INTO concert_seat (schedule_id, location, price)
            SELECT s.id, 'A' || i, $3 FROM s, generate_series(1, $4::int) i RETURNING id, schedule_id)
        SELECT schedule_id, string_agg(id::text, ' ' ORDER BY id) FROM e GROUP BY 1 ORDER BY 1},
        $concert, $count, Storm::Crowd::PRICE(), HALL
    );
}

# ---- the crowd, in processes of its own

my $from  = time + 0.5;
my $until = $from + 60 * $o{minutes};
my @crowd = map { crowd($_) } 1 .. $o{crowds};

sub crowd ($n) {
    my $path = "$box->{dir}/crowd-$n";
    my $pid  = fork // die "fork: $!\n";
    return { pid => $pid, path => $path } if $pid;
    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
    my $good = eval {
        my $count = Storm::Crowd->new(
            address => $box->address,
            jwt     => sub ($user) { $box->jwt(user => $user) },
            seed    => $o{seed} * 100 + $n,
            people  => int $o{people} / $o{crowds},
            first   => $n * 10_000_000,
            halls   => \@halls,
            from    => $from,
            until   => $until,
            journal => "$path.journal",
        )->run;
        Usher::Process::spew("$path.count", JSON::PP::encode_json($count));
        1;
    };
    print STDERR "storm: crowd $n: $@" if !$good;
    POSIX::_exit($good ? 0 : 1);
}

END { kill TERM => map { $_->{pid} } grep { !$_->{over} } @crowd if @crowd && $$ == $box->{storm_owner} }
$box->{storm_owner} = $$;

sub crowd_left {
    for my $one (grep { !$_->{over} } @crowd) {
        next if waitpid($one->{pid}, POSIX::WNOHANG()) == 0;
        $one->{over} = 1;
        die "storm: a crowd ended with status $?\n" if $?;
    }
    return grep { !$_->{over} } @crowd;
}

# ---- the storm

my $weather = Storm::Weather->new(box => $box, seed => $o{seed}, kills => $o{kills}, from => $from + 1, until => $until - 1);
$weather->clockwork(promote => PROMOTE_PERIOD);
$weather->clockwork(expire  => EXPIRE_PERIOD);
progress(sprintf '%d people, %d things go wrong in %.1f minutes', $o{people}, $weather->{planned}, $o{minutes});
my $told = time;
while ($weather->tick || crowd_left()) {
    sleep 0.01;
    if (time > $told + 15) {
        $told = time;
        progress(sprintf '%3d s, %d kills, %d other things', time - $from, $weather->counts);
    }
}
my $lasted = time - $from;

# ---- the calm: every hold ends, every claim that was cut off is asked about

progress('waiting until every hold has ended');
my $calm = time + List::Util::max(HOLD, DOUBTFUL) + 2;
while (time < $calm) {
    $weather->tick;
    sleep 0.02;
}
$weather->end_clockwork;
my ($expired, $words) = settle();

sub settle {
    my ($status, $text);
    for (1 .. 10) {
        ($status, $text) = $box->scheduler('expire');
        last if $status == 0 && $text =~ / claims=0 /;
        sleep 0.2;
    }
    return ($status, $text);
}

progress('comparing');
my ($verified, $report, $error) = $box->ctl('verify', '--settle', 10);
my $books = Storm::Books->new(
    box      => $box,
    journals => [ map {"$_->{path}.journal"} @crowd ],
    weather  => $weather->{log},
    runs     => $weather->{runs},
    claim    => CLAIM,
    active   => ACTIVE,
);
my @differences = $books->compare;
push @differences, "the last expire ended with status $expired: $words" if $expired != 0;
push @differences, "usher-server ended by itself $weather->{fallen}{'usher-server'} times" if $weather->{fallen}{'usher-server'};
push @differences, 'a worker crashed: ' . $_ for grep {/died .*signal=(?:4|6|7|8|11)\b/} split /\n/, $box->server_log;
push @differences, 'usherctl verify: see below' if $verified != 0;

my $text = report();
print $text;
keep($o{folder}) if defined $o{folder};
exit(@differences ? 1 : 0);

# ---- the report

sub sums {
    my (%by_status, %by_name);
    for my $one (@crowd) {
        my $count = JSON::PP::decode_json(Usher::Process::slurp("$one->{path}.count"));
        for (keys %$count) {
            my ($name, $status) = split / /;
            $by_status{$status} += $count->{$_};
            $by_name{$name}     += $count->{$_} if $status =~ /\d/;
        }
    }
    return (\%by_status, \%by_name);
}

sub table ($counts) {
    return join '', map { sprintf "  %9d  %s\n", $counts->{$_}, $_ } sort keys %$counts;
}

sub report {
    my ($by_status, $by_name) = sums();
    my $answers = List::Util::sum0(values %$by_name);
    my ($kills, $others) = $weather->counts;
    my ($done, @lost) = ($weather->{done}, @{ $books->said('lost') });
    my $text = sprintf "storm: seed %d, %d people, %.1f s\n\n%d requests answered (%.0f a second), by status\n", $o{seed}, $o{people},
        $lasted, $answers, $answers / $lasted;
    $text .= table($by_status) . "by operation\n" . table($by_name);
    my %kills = map { ($_ => $done->{$_}) } grep { Storm::Weather::is_kill($_) } keys %$done;
    my %others = map { ($_ => $done->{$_}) } grep { !$kills{$_} } keys %$done;
    $text .= "$kills kills\n" . table(\%kills) . "$others other things went wrong\n" . table(\%others);
    $text .= "planned, but it came to nothing: $_, $weather->{failed}{$_} times\n" for sort keys %{ $weather->{failed} };
    $text .= "not tried, for want of root and a mount namespace: $_, $weather->{skipped}{$_} times\n"
        for sort keys %{ $weather->{skipped} };
    $text .= "ended by itself and brought back: $_, $weather->{fallen}{$_} times\n" for sort keys %{ $weather->{fallen} // {} };
    $text .= "compared with what the crowd was told\n" . table($books->counted);
    $text .= scalar(@lost) . " times a place in the line was gone\n";
    $text .= "usherctl verify ended with $verified" . ($verified ? ":\n$report$error" : ": every invariant holds") . "\n";
    $text .= "$_\n" for @differences > 50 ? (@differences[ 0 .. 49 ], '... and ' . (@differences - 50) . ' more') : @differences;
    $text .= @differences ? 'VERDICT: ' . @differences . " differences\n" : "VERDICT: nothing lost, nothing twice\n";
    return $text;
}

sub keep ($folder) {
    mkdir $folder;
    Usher::Process::spew("$folder/report.txt", $text);
    Usher::Process::spew("$folder/weather.txt", join "\n", $weather->told, '');
    Usher::Process::run({}, 'cp', (map {"$_->{path}.journal"} @crowd), (glob "$box->{dir}/*.log"), (glob "$box->{dir}/*/*.log"), $folder);
    progress("kept in $folder");
}
