#!/usr/bin/perl
# The models of t/model, checked by spin in all their states: each scenario is clean, and each guard that is taken out is
# missed. What a model stands for is said in it.
use v5.36;
use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use File::Temp     qw(tempdir);
use POSIX          qw(_exit);
use Test::More;

my $models = abs_path(($ENV{USHER_SRCDIR} // dirname(__FILE__) . '/..') . '/t/model');
my $folder = tempdir(CLEANUP => 1);

# model, definitions; what it shows
my @clean = (
    [ 'seat', 'RETRIES',           'a hold and its retry, a payment, a rival and expiry: no seat twice, one effect for a key' ],
    [ 'seat', 'CANCELS',           'a hold and its retry, a cancellation, a rival and expiry' ],
    [ 'seat', 'LOSES',             'the doorman forgets everything in between: PostgreSQL decides, and he learns it again' ],
    [ 'seat', 'ENDS PASSING=2',    'payment, its retry, cancellation, expiry and a rival at one held seat: exactly one wins' ],
    [ 'seat', 'MONEY',             'payment, charge and their retries on one wallet: no money lost, none made' ],
    [ 'seat', 'ENDLESS',           'at last every seat is free or sold, and the doorman holds no free one back' ],
    [ 'late', 'AGAIN DEATHS=1',    'a hold is cancelled twice, expires, and its user holds again: what comes late does not free that' ],
    [ 'late', 'PAYS DEATHS=1',     'a hold and its retry, a payment, expiry, and the user holds again' ],
    [ 'late', 'TWICE DEATHS=1',    'a hold of what is held, expiry, and the user holds again' ],
    [ 'late', 'RIVAL',             'a hold and its retry, a cancellation, expiry and a rival' ],
    [ 'line', 'PEOPLE=3',          'two schedulers: in ticket order, nobody twice, never above budget or cap, and the line empties' ],
    [ 'line', 'PAUSES TICKETS=3',  'nobody is admitted while the line is paused' ],
);

# guard; model and scenario in which it is missed
my %guards = (
    seat => {
        UNIQUE           => 'RETRIES', DOORMAN         => 'RETRIES', SOLD_STAYS  => 'RETRIES', KEY_WITH_EFFECT => 'MONEY',
        WALLET           => 'MONEY',   PAY_ONLY_HELD   => 'ENDS',    RELEASE_OWN => 'ENDS',    CLAIM_ENDS      => 'ENDS',
        EXPIRE_ONLY_HELD => 'ENDS',    CLOSE_ONLY_HELD => 'ENDS',    REVIEW_SEEN => 'ENDS',    LOAD_UNCHANGED  => 'LOSES',
        SCHEDULER        => 'ENDLESS',
    },
    late => { LATER_STAYS => 'AGAIN', OWN_CLAIM => 'RIVAL', TELLS_LATE => 'PAYS', FOUND => 'TWICE' },
    line => {
        (map { $_ => 'PEOPLE=3' } qw(BUDGET ACTIVE_MAX ONE_TOKEN TICKET DEADLINE ORDER ATOMIC LAPSE_ATOMIC)), PAUSE => 'PAUSES',
    },
);

# One verification in a process of its own; its whole report is in the file that is returned.
sub begin ($model, $definitions, $guard = undef) {
    my $name = join '-', grep { defined } $model, ($definitions =~ s/\W/_/gr), $guard;
    my $pid  = fork // BAIL_OUT("fork: $!");
    return { name => $name, pid => $pid, report => "$folder/$name/report" } if $pid;
    my $endless = $definitions eq 'ENDLESS';
    my @define  = map {"-D$_"} split(' ', $definitions), $guard ? "NO_GUARD_$guard" : ();
    mkdir "$folder/$name" and chdir "$folder/$name" or _exit(1);
    open STDOUT, '>', 'report' and open STDERR, '>&', \*STDOUT or _exit(1);
    my $good =
           system('spin', '-a', @define, "$models/$model.pml") == 0
        && system('gcc', '-w', $guard ? '-O0' : '-O1', $endless ? '-DNFAIR=3' : '-DSAFETY', '-o', 'pan', 'pan.c') == 0
        && system('./pan', '-m20000', '-w22', $endless ? ('-a', '-f') : ()) == 0;
    _exit($good ? 0 : 1);
}

sub report ($job) {
    open my $file, '<', $job->{report} or return '';
    local $/;
    return <$file> // '';
}

# All states were seen, and none was bad.
sub is_clean ($text, $status) {
    return $status == 0 && $text =~ /^State-vector.*errors: 0$/m && $text =~ /^\s*\d+ states, stored/m
        && $text !~ /Search not completed|max search depth too small/;
}

sub finish ($job, $check) {
    waitpid $job->{pid}, 0;
    my ($text, $status) = (report($job), $?);
    $check->($text, $status);
}

# Two at a time.
sub run_all (@work) {
    my @running;
    while (@work || @running) {
        while (@work && @running < 2) {
            my $next = shift @work;
            push @running, { %{ begin(@{ $next->{run} }) }, check => $next->{check} };
        }
        my $job = shift @running;
        finish($job, $job->{check});
    }
}

sub clean_case ($model, $definitions, $what) {
    return {
        run   => [ $model, $definitions ],
        check => sub ($text, $status) {
            my ($states) = $text =~ /^\s*(\d+) states, stored/m;
            ok(is_clean($text, $status), "$model: $what (" . ($states // 'no') . ' states)') or diag($text);
        },
    };
}

sub guard_case ($model, $guard) {
    return {
        run   => [ $model, $guards{$model}{$guard}, $guard ],
        check => sub ($text, $status) {
            ok($text =~ /^pan:1: (?:assertion violated|acceptance cycle)/m, "$model: fails without the guard $guard")
                or diag($text);
        },
    };
}

# A guard that a model names has its case here.
for my $model (sort keys %guards) {
    open my $file, '<', "$models/$model.pml" or BAIL_OUT("$models/$model.pml: $!");
    my %named = map { $_ => 1 } do { local $/; <$file> } =~ /\bNO_GUARD_([A-Z_]+[A-Z])\b/g;
    is_deeply([ sort keys %{ $guards{$model} } ], [ sort keys %named ], "$model: every guard of the model is taken out");
}

run_all((map { clean_case(@$_) } @clean), map { my $m = $_; map { guard_case($m, $_) } sort keys %{ $guards{$m} } } sort keys %guards);
done_testing;
