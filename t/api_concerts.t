# Concerts and their schedules: both kinds of paging, forged cursors, one concert, what is open for reservation.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher    = Usher::Stack->new;
my @concerts = $usher->concerts(230);
my @me       = (user => 7, token => scalar $usher->admit(7));
my $concert  = { id => 'int', name => 'string', description => 'string' };
my $schedule = {
    id => 'int', concert_id => 'int', place => 'string', concert_at => 'time', reservation_opens_at => 'time',
    reservation_closes_at => 'time', seats_total => 'int', seats_available => 'int',
};

sub get ($path) { $usher->get($path, @me) }

sub ids ($r) {
    [ map { $_->{id} } @{ $r->json->{items} } ]
}

# By page.
my $page = { items => [$concert], page => 'int', size => 'int', total => 'int' };
my $r    = get('/v1/concerts?page=0&size=100');
shape_is($r, 200, $page, 'the first page by number');
is_deeply([ @{ $r->json }{qw(page size total)} ], [ 0, 100, 230 ], 'page, size and total');
is_deeply(
    $r->json->{items}[0],
    { id => $concerts[0], name => 'Concert 1', description => 'Description 1' },
    'a concert as it was made'
);
my @walk = map { @{ ids(get("/v1/concerts?page=$_&size=70")) } } 0 .. 3;
is_deeply([ sort { $a <=> $b } @walk ], \@concerts, 'the pages show every concert once');
shape_is(get('/v1/concerts?page=3&size=100'), 200, $page, 'a page behind the end is empty');
is_deeply(ids(get('/v1/concerts?page=3&size=100')), [], 'with no items');
is(scalar @{ ids(get('/v1/concerts?page=2&size=100')) }, 30, 'the last page has the rest');
shape_is(get('/v1/concerts?page=1'), 200, $page, 'size alone has a default');
shape_is(get('/v1/concerts?size=5'), 200, $page, 'page alone has a default');
is(scalar @{ ids(get('/v1/concerts?size=1')) }, 1, 'size 1 is allowed');
status_is(get('/v1/concerts'),                   200, 'no parameters at all');
status_is(get('/v1/concerts?size=5&colour=red'), 200, 'unknown parameters are ignored');
status_is(get('/v1/concerts?page=1000000'),      200, 'a far page is only empty');

# By cursor.
my $slice = { items => [$concert], next => 'string|null' };
my (@seen, $after, $last);
for (1 .. 20) {
    $last = get('/v1/concerts?limit=30' . (defined $after ? "&after=$after" : ''));
    shape_is($last, 200, $slice, "a slice by cursor ($_)");
    push @seen, @{ ids($last) };
    $after = $last->json->{next} // last;
    like($after, qr/^[A-Za-z0-9_.~-]+$/, "the cursor needs no escaping ($_)");
}
is_deeply([ sort { $a <=> $b } @seen ], \@concerts, 'the walk by cursor shows every concert once');
is($last->json->{next}, undef, 'and its end has no next');
is_deeply(\@seen, \@walk, 'both kinds of paging have one order');
my $exact = get('/v1/concerts?limit=100');
is(
    get('/v1/concerts?limit=100&after=' . get('/v1/concerts?limit=100&after=' . $exact->json->{next})->json->{next})
        ->json->{next},
    undef, 'three slices of 100 hold 230'
);
my $cursor = get('/v1/concerts?limit=30')->json->{next};
is(scalar @{ ids(get("/v1/concerts?limit=7&after=$cursor")) }, 7, 'the limit may change on the way');
$usher->psql(q{INSERT INTO concert (name) VALUES ('Late one')});
is_deeply(
    ids(get("/v1/concerts?limit=30&after=$cursor")),
    [ @seen[ 30 .. 59 ] ],
    'a concert added meanwhile does not shift the walk'
);

# Bad parameters: 400 with the field's name.
$usher->charge(7, 10) for 1 .. 3;
my $foreign = $usher->get('/v1/balance/entries?limit=1', user => 7)->json->{next};
my $flipped = $cursor =~ s/(.)$/$1 eq 'A' ? 'B' : 'A'/er;
my $middle  = $cursor =~ s/^(.{3})(.)/$1 . ($2 eq 'x' ? 'y' : 'x')/er;
my @bad     = (
    map({ [ "page=$_", 'page' ] } '-1',
        'x', '', '1.0', '1e3', '+1', '%201', '9223372036854775808', '99999999999999999999', '1%00', '0x1'),
    map({ [ "page=0&size=$_", 'size' ] } '0',
        '-1', '101', 'x', '', '1.5', '1e1', '18446744073709551617', '%F0%28%8C%28'),
    map({ [ "limit=$_",          'limit' ] } '0', '-1', '101', 'x', '', '1.0', '9223372036854775808'),
    map({ [ "limit=10&after=$_", 'after' ] } '',
        'x', 'AAAA', 'null', $flipped, $middle, "${cursor}A",
        substr($cursor, 1), $foreign, 'A' x 500, '%00', "$cursor%20"),
);
invalid_is(get("/v1/concerts?$_->[0]"), $_->[1], "concerts?$_->[0] is refused") for @bad;
my $me = $usher->get("/v1/balance/entries?limit=1&after=$cursor", user => 7);
invalid_is($me, 'after', 'a cursor of the concerts is refused elsewhere');
for my $mixed ("page=0&limit=10", "page=0&after=$cursor", "size=10&limit=10") {
    problem_is(
        get("/v1/concerts?$mixed"),
        400, 'invalid-request',
        "both kinds of paging at once ($mixed)",
        errors => [ { field => 'string', message => 'string' } ]
    );
}

# One concert.
$r = get("/v1/concerts/$concerts[4]");
shape_is($r, 200, $concert, 'one concert');
is_deeply($r->json, { id => $concerts[4], name => 'Concert 5', description => 'Description 5' },
    'is the one asked for');
$r = $usher->head("/v1/concerts/$concerts[4]", @me);
status_is($r, 200, 'HEAD of a concert');
is($r->body, '', 'HEAD of a concert has no body');
my @no_ids = (
    '0',  '-1',  '999999', '9223372036854775807', '9223372036854775808', '99999999999999999999999', 'x', '1x', '01',
    '+1', '1.0', '1%2F2'
);

for my $tail ('', '/schedules') {
    problem_is(get("/v1/concerts/$_$tail"), 404, 'not-found', "concerts/$_$tail is not there") for @no_ids;
}

# Text survives as it is.
my $name = qq{"\\<b>' \x{1F3B8} \x{c7}\x{131} \t};
utf8::encode(my $bytes = $name);
$usher->psql('UPDATE concert SET name = $1 WHERE id = $2', $bytes, $concerts[200]);
is(get("/v1/concerts/$concerts[200]")->json->{name}, $name, 'quotes, controls and emoji come through');

# Schedules: open now and by date; all on demand.
my %open     = (seats => 2);
my ($c)      = ($concerts[9]);
my ($far)    = $usher->schedule($c, %open, at => 900_000, place => 'Far');
my ($near)   = $usher->schedule($c, %open, at => 800_000, place => 'Near');
my ($early)  = $usher->schedule($c, %open, at => 850_000, opens => 600);
my ($closed) = $usher->schedule($c, %open, at => 700_000, opens => -7200, closes => -60);
$r = get("/v1/concerts/$c/schedules");
shape_is($r, 200, { items => [$schedule] }, 'the schedules of a concert');
is_deeply(ids($r), [ $near, $far ], 'only those open for reservation now, by date');
is_deeply(
    [ @{ $r->json->{items}[0] }{qw(concert_id place seats_total seats_available)} ],
    [ $c, 'Near', 2, 2 ],
    'with place and seats'
);
is_deeply(
    ids(get("/v1/concerts/$c/schedules?all=true")),
    [ $closed, $near, $early, $far ],
    'all=true shows every one, by date'
);
is_deeply(ids(get("/v1/concerts/$c/schedules?all=false")), [ $near, $far ], 'all=false is the same as none');
invalid_is(get("/v1/concerts/$c/schedules?all=$_"), 'all', "all=$_ is refused") for 'maybe', '2', 'TRUE%00';
shape_is(
    get("/v1/concerts/$concerts[0]/schedules"),
    200,
    { items => [$schedule] },
    'a concert without schedules has an empty list'
);
# So many that the database counts their seats.
my @many = map { [ $usher->schedule($concerts[10], seats => 3) ] } 1 .. 17;
sub seats_of ($path) { my %s = map { ($_->{id} => "$_->{seats_available} of $_->{seats_total}") } @{ get($path)->json->{items} }; \%s }
my %counts = map { ($_->[0] => '3 of 3') } @many;
is_deeply(seats_of("/v1/concerts/$concerts[10]/schedules"), \%counts, 'the seats of 17 schedules');
$usher->hold(@me[ 1, 3 ], @{ $many[3] }[ 0 .. 2 ]);
$counts{ $many[3][0] } = '1 of 3';
is_deeply(seats_of("/v1/concerts/$concerts[10]/schedules"), \%counts, 'less those that are held');

my @soon = (user => 8);
$usher->clock_advance(601);
push @soon, token => scalar $usher->admit(8);
is_deeply(
    ids($usher->get("/v1/concerts/$c/schedules", @soon)),
    [ $near, $early, $far ],
    'a schedule appears the moment it opens'
);
is_deeply([ map {"$_->{seats_available} of $_->{seats_total}"} @{ $usher->get("/v1/concerts/$concerts[10]/schedules", @soon)->json->{items} } ],
    [ ('3 of 3') x 17 ], 'a hold that is over is not counted');

# Seats that come later, or change.
sub near_is ($what, $total, @list) {
    my ($one) = grep { $_->{id} == $near } @{ $usher->get("/v1/concerts/$c/schedules", @soon)->json->{items} };
    is($one->{seats_total}, $total, "$what: as many are counted");
    is_deeply([ map {"$_->{location} $_->{price}"} @{ $usher->get("/v1/schedules/$near/seats", @soon)->json->{items} } ], \@list, '... and listed');
}
near_is('two seats', 2, 'A1 1000', 'A2 1000');
$usher->psql("INSERT INTO concert_seat (schedule_id, location, price) VALUES ($near, 'A3', 1000)",);
$usher->psql("UPDATE concert_seat SET price = 5 WHERE schedule_id = $near AND location = 'A1'");
my $tag = $usher->get("/v1/schedules/$near/seats", @soon)->header('ETag');
$usher->clock_advance(31);
near_is('a third one, and another price', 3, 'A1 5', 'A2 1000', 'A3 1000');
isnt($usher->get("/v1/schedules/$near/seats", @soon)->header('ETag'), $tag, 'with another ETag');

done_testing;
