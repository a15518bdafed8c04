# rows.pl: usher beside its floor, row by row. Usage: rows.pl [NAME ...]; see Bench.pm for what it finds in the environment,
# and Rows.pm for the rows. BENCH_KEPT is the file of earlier results: rows that are not measured now stay in it.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Bench;
use JSON::PP ();
use Rows;

sub sum (@values) { my $s = 0; $s += $_ for @values; return $s }

# ---- measuring

sub middle (@runs) {
    my @sorted = sort { $a->{per_s} <=> $b->{per_s} } @runs;
    return $sorted[ @sorted / 2 ];
}

sub measure ($row) {
    begin($row);
    same_length($row);
    my %runs = (usher => [], floor => []);
    one_run($row, $_, 1) for qw(usher floor);
    for (1 .. $at{runs}) {
        push @{ $runs{$_} }, one_run($row, $_, $at{seconds}) for qw(usher floor);
    }
    my %middle = map { $_ => middle(@{ $runs{$_} }) } keys %runs;
    my ($ours, $floor) = @middle{qw(usher floor)};
    my $each = $row->{requests} // 1;
    my $cpu  = sum(map { $ours->{cpu}{$_} // 0 } qw(usher-server redis postgresql nginx));
    my $floor_cpu = sum(map { $floor->{cpu}{$_} // 0 } qw(floor redis postgresql nginx));
    my ($flaw) = grep {defined} map { $_->{flaw} } @{ $runs{usher} }, @{ $runs{floor} };
    my $ratio = $floor->{per_s} ? $ours->{per_s} / $floor->{per_s} : 0;
    my $met = !defined $flaw && (!$row->{goal} || $ratio >= $row->{goal}) && (!$row->{per_s} || $ours->{per_s} / $each >= $row->{per_s});
    return {
        name         => $row->{name},
        what         => $row->{what},
        ours_per_s   => sprintf('%.0f', $ours->{per_s} / $each),
        floor_per_s  => sprintf('%.0f', $floor->{per_s} / $each),
        ratio        => sprintf('%.3f', $ratio),
        goal         => $row->{goal},
        goal_per_s   => $row->{per_s},
        p50_us       => $ours->{p50},
        p99_us       => $ours->{p99},
        floor_p50_us => $floor->{p50},
        floor_p99_us => $floor->{p99},
        cpu_us       => sprintf('%.1f', $each * $cpu / ($ours->{requests} || 1)),
        floor_cpu_us => sprintf('%.1f', $each * $floor_cpu / ($floor->{requests} || 1)),
        binds        => binds($ours),
        processors   => shares($ours),
        others       => sprintf('%.0f', 100 * median(map { $_->{cpu}{others} / $_->{cpu}{total} } @{ $runs{usher} }, @{ $runs{floor} })),
        all_ours     => [map { sprintf '%.0f', $_->{per_s} / $each } @{ $runs{usher} }],
        all_floor    => [map { sprintf '%.0f', $_->{per_s} / $each } @{ $runs{floor} }],
        flaw         => $flaw,
        met          => $met ? JSON::PP::true() : JSON::PP::false(),
        seconds      => $at{seconds},
        runs         => $at{runs},
        workers      => $ENV{BENCH_WORKERS},
    };
}

# ---- what binds

my %WORDS = (postgresql => 'PostgreSQL', redis => 'Redis', nginx => 'nginx', 'usher-server' => "usher's workers", wrk => 'wrk');

# The parts' shares of the machine's processors in per cent, the largest first; and what was left idle.
sub shares_of ($run) {
    my %share = map { $_ => 100 * $run->{cpu}{$_} / $run->{cpu}{total} } grep { $_ ne 'total' } keys %{ $run->{cpu} };
    my $idle  = delete $share{idle};
    return ($idle, map { [$_, $share{$_}] } sort { $share{$b} <=> $share{$a} } grep { $share{$_} > 2 } keys %share);
}

sub shares ($run) {
    my ($idle, @parts) = shares_of($run);
    my @texts = map { sprintf '%s %.0f', @$_ } @parts;
    push @texts, sprintf 'idle %.0f', $idle if $idle > 5;
    return join ', ', @texts;
}

# In words: a single thread that is full, one part that has half of the busy time, or those that share most of it. Other
# programs do not bind, they disturb.
sub binds ($run) {
    my ($idle, @parts) = shares_of($run);
    @parts = grep { $_->[0] ne 'others' } @parts;
    my %share = map {@$_} @parts;
    my $one   = 100 / processors();    # what one thread can use at most
    return "Redis' one thread is full" if ($share{redis} // 0) > 0.9 * $one && $one < 100;
    my $busy  = sum(values %share);
    my $waits = $idle <= 5 ? '' : ($share{postgresql} // 0) > 20
        ? sprintf('; %.0f %% idle, waiting for commits', $idle)
        : sprintf('; %.0f %% idle', $idle);
    return $WORDS{ $parts[0][0] } . ($WORDS{ $parts[0][0] } =~ /s$/ ? "'" : "'s") . " processor time$waits"
        if $parts[0][1] > $busy / 2;
    my ($together, @names) = (0);
    for (@parts) {
        last if $together > 0.65 * $busy;
        $together += $_->[1];
        push @names, $WORDS{ $_->[0] };
    }
    my $last = pop @names;
    return (@names ? join(', ', @names) . " and $last" : $last) . ($waits || ': the processors are full');
}

# ---- telling

sub heading () {
    printf "%-9s %8s %13s %8s %13s %6s %5s %12s  %s\n", 'row', 'ours/s', 'p50/p99 us', 'floor/s', 'p50/p99 us', 'ratio', 'goal',
        'CPU us/floor', 'what binds it (processors in %)';
}

sub line ($r) {
    printf "%-9s %8s %13s %8s %13s %6.2f %5s %12s  %s (%s)%s\n", @$r{qw(name ours_per_s)}, "$r->{p50_us}/$r->{p99_us}", $r->{floor_per_s},
        "$r->{floor_p50_us}/$r->{floor_p99_us}", $r->{ratio}, $r->{goal} ? sprintf('%.2f', $r->{goal}) : '-',
        "$r->{cpu_us}/$r->{floor_cpu_us}", @$r{qw(binds processors)},
        $r->{flaw} ? "\n          VOID: $r->{flaw}" : $r->{met} ? '' : '  BELOW';
}

# The rows of earlier benches that were not measured now, and these, in the order of Rows.pm.
sub keep (@results) {
    my %row;
    if (open my $file, '<', $ENV{BENCH_KEPT} // '') {
        local $/;
        my $before = eval { JSON::PP::decode_json(<$file>) } // {};
        %row = map { $_->{name} => $_ } grep { defined $_->{seconds} } @{ $before->{rows} // [] };
    }
    $row{ $_->{name} } = $_ for @results;
    my %place = map { $rows[$_]{name} => $_ } 0 .. $#rows;
    my @all = sort { $place{ $a->{name} } <=> $place{ $b->{name} } } grep { defined $place{ $_->{name} } } values %row;
    write_file("$at{run}/bench.json", json({ rows => \@all }) . "\n");
}

my %wanted = map { $_ => row($_) } @ARGV;
my @results;
say_now("Each row: $at{runs} runs of $at{seconds} s of usher and its floor in turn, medians (wrk -t2 -c32). Rows:");
for my $row (@rows) {
    say_now(sprintf '  %-9s %s', $row->{name}, $row->{what}) if !%wanted || $wanted{ $row->{name} };
}
heading();
for my $row (@rows) {
    next if %wanted && !$wanted{ $row->{name} };
    push @results, measure($row);
    line($results[-1]);
    keep(@results);
}
my @noisy = grep { $_->{others} > 5 } @results;
say_now('Other programs took more than 5 % of the processors during: ' . join(', ', map {"$_->{name} ($_->{others} %)"} @noisy)) if @noisy;
my @faster = map { $_->{name} } grep { $_->{ratio} > 1 } @results;
say_now("WARNING: faster than its own floor, so the floor does something that it should not, or noise decided: @faster") if @faster;
exit(grep({ defined $_->{flaw} } @results) ? 1 : 0);
