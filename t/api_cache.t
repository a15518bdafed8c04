# The cache of concert pages: served from it, prolonged by hits up to a limit, evicted by the operator's change, one filler.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(
    config => {
        concert_cache_ttl   => '10s',
        concert_cache_max   => '30s',
        concert_cache_pages => 2,
        claim_window        => '1h',
        active_ttl          => '1h'
    },
    postgres => "log_statement = 'all'",
);
my @concerts = $usher->concerts(60);
my @me       = (user => 7, token => scalar $usher->admit(7));

# The views that show the first concert: its name in each of them.
my %views = (
    'by page'   => '/v1/concerts?page=0&size=10',
    'by cursor' => '/v1/concerts?limit=10',
    'alone'     => "/v1/concerts/$concerts[0]",
);

sub name ($path, $id = $concerts[0]) {
    my $body = $usher->get($path, @me)->json;
    my ($found) = grep { $_->{id} == $id } $body->{items} ? @{ $body->{items} } : $body;
    return $found->{name};
}

# Behind the cache's back, as no operator would.
sub rename_secretly ($id, $name) { $usher->psql('UPDATE concert SET name = $1 WHERE id = $2', $name, $id) }

# Statements that workers have sent about concerts so far.
sub statements () {
    scalar grep {/\bexecute\b.*\bconcert\b/is} split /\n(?=\d{4}-)/,
        Usher::Process::slurp("$usher->{dir}/postgres/postgres.log");
}

# Served from the cache, and no longer than its time.
for my $view ('by page', 'by cursor') {
    my $path = $views{$view};
    is(name($path), 'Concert 1', "$view: the first answer");
    my $before = statements();
    is(name($path),  'Concert 1', "$view: the second one") for 1 .. 3;
    is(statements(), $before,     "$view: is served without PostgreSQL");
}
rename_secretly($concerts[0], 'Renamed');
is(name($views{$_}), 'Concert 1', "$_: a page may be as old as its time") for 'by page', 'by cursor';
$usher->clock_advance(31);
for my $view ('by page', 'by cursor') {
    ok(Usher::Process::until_true(sub { name($views{$view}) eq 'Renamed' }, 5),
        "$view: after its time it is fetched anew");
}

# Prolonged by hits, to at most concert_cache_max.
my $path = '/v1/concerts?page=1&size=10';
is(name($path, $concerts[10]), 'Concert 11', 'a page goes into the cache');
rename_secretly($concerts[10], 'Prolonged');
for my $age (6, 12, 18, 24) {
    $usher->clock_advance(6);
    is(name($path, $concerts[10]), 'Concert 11', "hits prolong it ($age s)");
}
$usher->clock_advance(7);
ok(Usher::Process::until_true(sub { name($path, $concerts[10]) eq 'Prolonged' }, 5),
    'but not beyond concert_cache_max');
$path = '/v1/concerts?page=2&size=10';
is(name($path, $concerts[20]), 'Concert 21', 'another page');
rename_secretly($concerts[20], 'Unvisited');
$usher->clock_advance(11);
ok(Usher::Process::until_true(sub { name($path, $concerts[20]) eq 'Unvisited' }, 5),
    'without hits it lives concert_cache_ttl');

# Only the front pages of a cursor listing are cached.
my @cursors = ('');
push @cursors, '&after=' . $usher->get("/v1/concerts?limit=10$cursors[-1]", @me)->json->{next} for 1 .. 3;
name("/v1/concerts?limit=10$_") for @cursors;
for my $page (0 .. 3) {
    my $before = statements();
    $usher->get("/v1/concerts?limit=10$cursors[$page]", @me);
    my $asked = statements() - $before;
    ok($page < 2 ? $asked == 0 : $asked > 0,
        'cursor page ' . ($page + 1) . ($page < 2 ? ' comes from the cache' : ' does not'))
        or diag $asked;
}

# The operator's change is seen at once, in every view.
name($views{$_}) for sort keys %views;
my ($status, $out, $err) = $usher->ctl('concert', 'set', $concerts[0], '--name', 'Changed by hand');
is($status,          0,                 'usherctl concert set') or diag $err;
is(name($views{$_}), 'Changed by hand', "$_: the operator's change is seen at once") for sort keys %views;
($status, $out, $err) = $usher->ctl('concert', 'set', 999_999, '--name', 'Nobody');
isnt($status, 0, 'an unknown concert is an error');
like($err, qr/999999/, 'that names it');
($status, $out, $err) = $usher->ctl('concert', 'set', $concerts[0]);
isnt($status, 0, 'nothing to set is an error');
rename_secretly($concerts[0], 'Evicted');
is(($usher->ctl('evict'))[0], 0,         'usherctl evict');
is(name($views{$_}),          'Evicted', "$_: evict empties the cache") for sort keys %views;

# The gate stands in front of the cache.
problem_is($usher->get($views{'by page'}, user => 8),
    401, 'queue-token-required', 'a cached page is behind the gate, too');
header_is($usher->get($views{'by page'}, @me), 'Cache-Control', qr/\bprivate\b/, 'and no shared cache may keep it');

# One filler: many ask at once for a page that nobody has, PostgreSQL hears of it a few times at most.
my @crowd  = map { [ GET => '/v1/concerts?page=3&size=10', @me ] } 1 .. 30;
my $before = statements();
my @got    = $usher->parallel(\@crowd);
is(scalar(grep { $_->status == 200 } @got), 30, 'thirty at once get a cold page');
cmp_ok(statements() - $before, '<=', 4, 'which was not fetched thirty times');
$usher->clock_advance(31);
$before = statements();
@got    = $usher->parallel(\@crowd);
is(scalar(grep { $_->status == 200 } @got), 30, 'thirty at once get a stale page');
cmp_ok(statements() - $before, '<=', 4, 'which was not fetched thirty times either');

# PostgreSQL is away: whoever would fetch a page anew has the old copy, too.
my $old = $usher->get('/v1/concerts?page=3&size=10', @me)->body;
rename_secretly($concerts[30], 'Back again');
$usher->clock_advance(31);
$usher->{postgres}->stop;
@got = map { $usher->get('/v1/concerts?page=3&size=10', @me) } 1 .. 3;
is_deeply([ map { $_->status } @got ], [ 200, 200, 200 ], 'a stale page is told while PostgreSQL is away');
is($got[0]->body, $old, 'as it was');
problem_is($usher->get('/v1/concerts?page=4&size=10', @me), 503, 'unavailable', 'what nobody has is not',
    headers => { 'Retry-After' => qr/^\d+$/ });
$usher->{postgres}->start;
ok(Usher::Process::until_true(sub { name('/v1/concerts?page=3&size=10', $concerts[30]) eq 'Back again' }, 10),
    'when it is back the page is fetched anew');

# Losing Redis' memory loses only time.
$usher->redis('DEL', $usher->redis('KEYS', 'c:*')) if $usher->redis('KEYS', 'c:*');
is(name($views{$_}), 'Evicted', "$_: an empty cache is filled again") for sort keys %views;

# Switched off.
my $off    = Usher::Stack->new(nginx => 0, workers => 1, config => { concert_cache_ttl => 0, concert_cache_max => 0 });
my ($only) = $off->concerts(1);
my $its_token = $off->fcgi(POST => '/v1/queue/tokens', user => 7)->json->{token};
$off->scheduler('promote');
for my $name ('Concert 1', 'Another') {
    $off->psql('UPDATE concert SET name = $1', $name);
    is($off->fcgi(GET => '/v1/concerts?page=0&size=10', user => 7, token => $its_token)->json->{items}[0]{name},
        $name, "no cache: $name");
}

done_testing;
