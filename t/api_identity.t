# Who is calling: every way in which a bearer token can be wrong, and all four algorithms.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP     ();
use MIME::Base64 qw(encode_base64 encode_base64url);
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new;
my $now   = $usher->now;
my $good  = $usher->jwt(user => 7);
my ($rsa_private, $rsa_public) = Usher::Jwt::key_pair($usher->{dir}, 'RS256');

sub accepted ($on, $jwt, $name) { status_is($on->get('/v1/balance', jwt => $jwt), 200, "accepted: $name") }

sub refused ($on, $jwt, $name) {
    my $r = $on->get('/v1/balance', jwt => $jwt);
    return problem_is($r, 401, 'unauthenticated', "refused: $name", headers => { 'WWW-Authenticate' => qr/^Bearer\b/ });
}
sub claims (%claims) { $usher->jwt(user => 7, claims => \%claims) }

# Good ones.
accepted($usher, $good, 'a good token');
accepted($usher, claims(sub => $_), "sub $_") for '1', '9223372036854775807';
accepted($usher, claims(exp => $now + 90), 'soon to expire');
accepted($usher, claims(nbf => $now - 5, iat => $now - 5, jti => 'x', name => "\x{e9}", roles => [ 1, {} ]),
    'more claims');
accepted($usher, claims(iss => 'anybody', aud => [ 'a', 'b' ]), 'iss and aud where none is configured');
accepted($usher, $usher->jwt(user => 7, header => { typ => 'at+jwt' }), 'another typ');
accepted($usher, $usher->jwt(user => 7, header => { kid => 'main' }),   'kid is not looked at');

# Not a token at all.
my ($header, $payload, $signature) = split /\./, $good;
my %garbage = (
    'empty'                => '',
    'a word'               => 'x',
    'dots'                 => '..',
    'more dots'            => '.....',
    'one part'             => $header,
    'two parts'            => "$header.$payload",
    'no signature'         => "$header.$payload.",
    'four parts'           => "$good.x",
    'no header'            => ".$payload.$signature",
    'no claims'            => "$header..$signature",
    'padding'              => "$good=",
    'standard base64'      => join('.', map { encode_base64($_, '') } '{"alg":"HS256"}', '{"sub":"7"}', 'x' x 32),
    'foreign characters'   => "$header.$payload.\$\$\$",
    'a space inside'       => "$header.$payload .$signature",
    'a changed signature'  => $good =~ s/(.)(.)$/($1 eq 'A' ? 'B' : 'A') . $2/er,
    'a shorter signature'  => substr($good, 0, -4),
    'a longer signature'   => "${good}AAAA",
    'changed claims'       => join('.', $header, encode_base64url(qq({"sub":"8","exp":@{[$now + 99]}})), $signature),
    'a long one'           => 'a' x 6000,
    'a long one with dots' => join('.', ('a' x 2000) x 3),
);
refused($usher, $garbage{$_}, $_) for sort keys %garbage;

# The algorithm is the configured one; never none.
refused($usher, $usher->jwt(user => 7, alg => $_, key => $usher->{jwt_key}), "alg $_") for 'none', 'HS384';
for my $alg ('none', 'None', 'NONE', 'nOnE', '', 'hs256', 'HS512', 'RS256', undef, 1, ['HS256'], { a => 1 }) {
    my $word = JSON::PP->new->ascii->allow_nonref->encode($alg);
    refused(
        $usher,
        Usher::Jwt::make(
            { alg => $alg },
            { sub => '7', exp => $now + 60 },
            Usher::Jwt::signer('HS256', $usher->{jwt_key})
        ),
        "alg $word with a good HS256 signature"
    );
    refused($usher, Usher::Jwt::make({ alg => $alg }, { sub => '7', exp => $now + 60 }, sub {''}),
        "alg $word unsigned");
}
refused($usher, $usher->jwt(user => 7, alg => 'RS256', key => $rsa_private), 'RS256 where HS256 is configured');
refused($usher, $usher->jwt(user => 7, key => $_), "signed with '" . substr($_, 0, 12) . "'")
    for 'another secret, also long enough', '', "$usher->{jwt_key} ";
refused(
    $usher,
    Usher::Jwt::make($_->[1], { sub => '7', exp => $now + 60 }, Usher::Jwt::signer('HS256', $usher->{jwt_key})),
    "header $_->[0]"
    )
    for [ 'no JSON', 'x' ], [ 'an array', '["HS256"]' ], [ 'empty', '{}' ],
    [ 'twice alg',           '{"alg":"none","alg":"HS256"}' ],
    [ 'critical extensions', '{"alg":"HS256","crit":["exp2"],"exp2":1}' ];

# Claims.
refused($usher, claims(exp => undef),    'no exp');
refused($usher, claims(exp => $now - 1), 'expired a second ago');
refused($usher, claims(exp => $now),     'expires now');
refused($usher, claims(exp => 0),        'expired in 1970');
refused($usher, claims(exp => -1),       'exp -1');
refused($usher, claims(exp => $_), 'exp of a wrong type') for '' . ($now + 60), 'tomorrow', [], {}, JSON::PP::true();
refused($usher, claims(nbf => $now + 60), 'nbf in the future');
refused($usher, claims(nbf => $_),        'nbf of a wrong type') for 'now', [];
refused($usher, claims(sub => undef),     'no sub');
refused($usher, claims(sub => $_),        'sub ' . JSON::PP->new->ascii->allow_nonref->encode($_))

    for '', '0', '-1', '+1', '01', ' 1', '1 ', '1.0', '1e3', '0x1', 'x', '7x', '9223372036854775808',
    '99999999999999999999999', "7\0",
    'admin', "\x{661}", [], {}, ['7'], JSON::PP::true();
refused($usher, $usher->jwt(user => 7, raw_claims => $_->[1]), "claims $_->[0]")
    for [ 'no JSON', 'x' ], [ 'an array', '[]' ], [ 'a number', '7' ], [ 'empty', '{}' ],
    [ 'cut',              '{"sub":"7","exp":99999' ],
    [ 'trailing garbage', qq({"sub":"7","exp":@{[$now + 60]}} x) ],
    [ 'exp overflow',     '{"sub":"7","exp":99999999999999999999999}' ],
    [ 'exp NaN',          '{"sub":"7","exp":NaN}' ], [ 'bad UTF-8', qq({"sub":"7","exp":@{[$now + 60]},"n":"\xff"}) ],
    [ 'deep',             '{"a":' x 500 . '1' . '}' x 500 ];

# The header itself.
my %headers = (
    'no header'          => [],
    'no scheme'          => [ Authorization => $good ],
    'Basic'              => [ Authorization => 'Basic ' . encode_base64('7:7', '') ],
    'another scheme'     => [ Authorization => "Token $good" ],
    'scheme only'        => [ Authorization => 'Bearer' ],
    'scheme and a space' => [ Authorization => 'Bearer ' ],
    'two tokens'         => [ Authorization => "Bearer $good $good" ],
    'a comma'            => [ Authorization => "Bearer $good, $good" ],
);
for my $name (sort keys %headers) {
    problem_is(
        $usher->get('/v1/balance', headers => $headers{$name}), 401, 'unauthenticated', "refused: $name",
        headers => { 'WWW-Authenticate' => qr/^Bearer\b/ }
    );
}
status_is($usher->get('/v1/balance', headers => [ Authorization => "bearer $good" ]),
    200, 'the scheme is case-insensitive (RFC 9110)');
problem_is($usher->get("/v1/balance?access_token=$good&user=7&userId=7"),
    401, 'unauthenticated', 'identity never comes from a parameter');

# The user is the token's: whatever else the request claims.
$usher->charge(7, 700);
is($usher->get('/v1/balance?user_id=7&userId=7', user => 8, headers => [ 'X-User-Id' => 7 ])->json->{balance},
    0, 'no parameter makes one somebody else');

# Expiry follows the clock.
my $short = claims(exp => $now + 60);
accepted($usher, $short, 'before exp');
$usher->clock_advance(61);
refused($usher, $short, 'after exp');

# Every operation that needs an identity refuses without one, before anything else.
my @operations = (
    [ POST   => '/v1/queue/tokens' ], [ GET => '/v1/concerts' ], [ GET => '/v1/concerts/1' ],
    [ GET    => '/v1/concerts/1/schedules' ],
    [ GET    => '/v1/schedules/1/seats' ], [ POST => '/v1/reservations' ], [ GET => '/v1/reservations' ],
    [ GET    => '/v1/reservations/1' ],
    [ DELETE => '/v1/reservations/1' ], [ GET => '/v1/balance' ], [ GET => '/v1/balance/entries' ],
    [ POST   => '/v1/balance/charges' ],
    [ POST   => '/v1/payments' ], [ GET => '/v1/payments/1' ],
);
for my $operation (@operations) {
    my ($method, $path) = @$operation;
    problem_is(
        $usher->request($method, $path, ($method eq 'POST' ? (body => {}) : ()), token => 'A' x 22), 401,
        'unauthenticated',
        "$method $path without an identity", headers => { 'WWW-Authenticate' => qr/^Bearer\b/ }
    );
    status_is($usher->request($method, $path, ($method eq 'POST' ? (body => {}) : ()), jwt => $short),
        401, "$method $path with an expired one");
}

# Public keys, issuer and audience.
my %one = (nginx => 0, workers => 1);
for my $algorithm (qw(RS256 ES256 EdDSA)) {
    my ($private, $public) = Usher::Jwt::key_pair($usher->{dir}, $algorithm);
    my ($stranger) = do { mkdir "$usher->{dir}/stranger"; Usher::Jwt::key_pair("$usher->{dir}/stranger", $algorithm) };
    my $on = Usher::Stack->new(
        %one,
        config => {
            jwt_algorithm => $algorithm,
            jwt_key_file  => $public,
            jwt_issuer    => 'https://id.test',
            jwt_audience  => 'usher'
        }
    );
    my %o   = (user => 7, alg => $algorithm, key => $private);
    my $try = sub ($name, $status, $jwt) {
        status_is($on->fcgi(GET => '/v1/balance', jwt => $jwt), $status, "$algorithm: $name");
    };
    my @ours = (iss => 'https://id.test', aud => 'usher');
    $try->('a good token',                200, $on->jwt(%o, claims => {@ours}));
    $try->('aud is a list that has ours', 200, $on->jwt(%o, claims => { @ours, aud => [ 'other', 'usher' ] }));
    $try->('aud is a list without ours',  401, $on->jwt(%o, claims => { @ours, aud => ['other'] }));
    $try->('aud is another',              401, $on->jwt(%o, claims => { @ours, aud => 'usherx' }));
    $try->('aud is missing',              401, $on->jwt(%o, claims => { @ours, aud => undef }));
    $try->('aud is of a wrong type',      401, $on->jwt(%o, claims => { @ours, aud => { usher => 1 } }));
    $try->('iss is another',              401, $on->jwt(%o, claims => { @ours, iss => 'https://evil.test' }));
    $try->('iss is missing',              401, $on->jwt(%o, claims => { @ours, iss => undef }));
    $try->('iss is of a wrong type',      401, $on->jwt(%o, claims => { @ours, iss => ['https://id.test'] }));
    $try->('expired',                     401, $on->jwt(%o, claims => { @ours, exp => $on->now - 1 }));
    $try->('signed by a stranger',        401, $on->jwt(%o, key    => $stranger, claims => {@ours}));
    $try->(
        'the public key as HMAC secret',
        401, $on->jwt(user => 7, key => Usher::Process::slurp($public), claims => {@ours})
    );
    $try->(
        'HS256 under its own name',
        401,
        $on->jwt(user => 7, key => Usher::Process::slurp($public), header => { alg => $algorithm }, claims => {@ours})
    );
    $try->('alg none', 401, $on->jwt(user => 7, alg => 'none', claims => {@ours}));
    $try->(
        'an empty signature',
        401, Usher::Jwt::make({ alg => $algorithm }, { sub => '7', exp => $on->now + 60, @ours }, sub {''})
    );
    $try->(
        'a signature of zeros',
        401, Usher::Jwt::make({ alg => $algorithm }, { sub => '7', exp => $on->now + 60, @ours }, sub { "\0" x 64 })
    );
    $on->stop_server;
}

# A key that cannot be used is said at the start, not at the first request.
for my $case (
    [ 'a short secret',        'HS256', 'short' ],
    [ 'no PEM',                'RS256', 'x' x 64 ],
    [ 'a key of another kind', 'ES256', Usher::Process::slurp($rsa_public) ]
    )
{
    my ($name, $algorithm, $text) = @$case;
    my $file = Usher::Process::spew("$usher->{dir}/bad.key", $text);
    my ($status, $out, $err) = Usher::Process::run(
        { seconds => 10 }, $usher->build . '/usher-server', '-c', $usher->{conf},
        '-o', "listen=$usher->{dir}/bad.sock", '-o', 'listen_shop=', '-o', "jwt_algorithm=$algorithm", '-o', "jwt_key_file=$file"
    );
    ok($status > 0 && $status < 128, "$name: the server does not start");
    like("$out$err", qr/bad\.key/, "$name: and names the file");
    unlike("$out$err", qr/\Q$text\E/, "$name: but not what is in it");
}
unlike($usher->server_log, qr/\Q$good\E|\Q$usher->{jwt_key}\E/, 'neither tokens nor keys are in the log');

done_testing;
