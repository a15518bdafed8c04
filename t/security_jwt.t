# Bearer tokens that an attacker would try, beyond those of api_identity.t: keys named by the token itself, confusion of HMAC
# secret and public key, duplicate members, every cut and every changed character, numbers at the edge, audiences that look alike.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA  qw(hmac_sha256);
use MIME::Base64 qw(decode_base64 encode_base64 encode_base64url);
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(workers => 1, nginx => 0);
my $now   = $usher->now;
my $good  = $usher->jwt(user => 7);
my $sign  = Usher::Jwt::signer('HS256', $usher->{jwt_key});

sub balance ($jwt, $on = $usher) { $on->fcgi(GET => '/v1/balance', jwt => $jwt) }
sub refused ($jwt, $name, $on = $usher) { problem_is(balance($jwt, $on), 401, 'unauthenticated', "refused: $name") }
sub accepted ($jwt, $name, $on = $usher) { status_is(balance($jwt, $on), 200, "accepted: $name") }
sub by_key ($header, $key) { Usher::Jwt::make($header, { sub => '7', exp => $now + 60 }, Usher::Jwt::signer('HS256', $key)) }

accepted($good, 'a good token, so that the refusals below mean something');

# Keys that the token brings along or points to.
my $mine = 'the attacker has this key, 32 bytes!';
my %pointers = (
    jwk                        => { kty => 'oct', k => encode_base64url($mine), alg => 'HS256' },
    jku                        => 'http://127.0.0.1:1/keys.json',
    x5u                        => 'http://127.0.0.1:1/cert.pem',
    x5c                        => [ encode_base64($mine, '') ],
    kid                        => '../../../../dev/null',
    'kid '                     => "' UNION SELECT '$mine' -- ",
    'x5t#S256'                 => 'AAAA',
);
for my $name (sort keys %pointers) {
    my %header = (alg => 'HS256', $name =~ s/ $//r => $pointers{$name});
    refused(by_key(\%header, $mine), "$name, signed with the attacker's key");
    refused(by_key(\%header, ''),    "$name, signed with an empty key");
    accepted(by_key(\%header, $usher->{jwt_key}), "$name is not looked at in a token that we signed");
}
refused(by_key({ alg => 'HS256', crit => $_ }, $usher->{jwt_key}), 'crit, which nobody here understands') for [], ['b64'], 'exp';
refused(by_key({ alg => 'HS256', b64 => JSON::PP::false(), crit => ['b64'] }, $usher->{jwt_key}), 'an unencoded payload (RFC 7797)');

# Members that stand twice, plainly or in disguise: which one would count?
my $exp = $now + 60;
refused(Usher::Jwt::make({ alg => 'HS256' }, $_, $sign), "claims $_") for qq({"sub":"8","exp":$exp,"sub":"7"}),
    qq({"sub":"8","exp":$exp,"s\\u0075b":"7"}), qq({"exp":1,"sub":"7","exp":$exp}), qq({"sub":"7","exp":$exp,"a":{"b":1,"b":2}}),
    qq({"sub":"7\\u0000","exp":$exp}), qq({"sub":"7","exp":$exp,"sub\\u0000":"8"}), qq({"sub":7,"exp":$exp}), qq({'sub':'7','exp':$exp}),
    qq({"sub":"7","exp":$exp}{"sub":"8"}), qq(\x{ef}\x{bb}\x{bf}{"sub":"7","exp":$exp}), qq({"sub":"7","exp":$exp}\0), qq({"Sub":"7","exp":$exp});
refused(Usher::Jwt::make($_, { sub => '7', exp => $exp }, $sign), "header $_")
    for '{"alg":"HS256","alg":"HS256"}', '{"alg":"none","\u0061lg":"HS256"}', '{"alg":"HS256\u0000"}', '{"ALG":"HS256"}',
    '{"alg":"HS256"}{}', '{"alg":"HS256",}', '["HS256"]', '"HS256"';

# Every cut, and every character changed.
my @cut = grep { balance(substr $good, 0, $_)->status != 401 } 0 .. length($good) - 1;
is_deeply(\@cut, [], 'no beginning of a token is a token');
my @changed = grep {
    my $bad = $good;
    substr($bad, $_, 1) =~ tr{A-Za-z0-9\-_.}{B-ZAb-za1-90_\-A};
    balance($bad)->status != 401;
} 0 .. length($good) - 1;
is_deeply(\@changed, [], 'no token with one other character is one');
my ($body, $last) = $good =~ /^(.*)(.)$/;
my @spelled = grep { balance("$body$_")->status == 200 } 'A' .. 'Z', 'a' .. 'z', 0 .. 9, '-', '_';
is_deeply(\@spelled, [$last], 'a signature has one spelling only');
refused("$good$_", 'something behind the signature: ' . unpack 'H*', $_) for "\n", '=', '.', "\t", ',', ';a';

# Numbers.
sub claims ($text) { Usher::Jwt::make({ alg => 'HS256' }, $text, $sign) }
accepted(claims(qq({"sub":"7","exp":$_})), "exp $_") for '9223372036854775807', '253402300800';
refused(claims(qq({"sub":"7","exp":$_})), "exp $_")
    for qw(9223372036854775808 18446744073709551616 18446744073709551615 1e400 1e30 9e9 99999999999.5 -9223372036854775808 -0),
    '"9999999999"', 'null', '[9999999999]', 'Infinity', '+9999999999', '0x7fffffff', '09999999999';
refused(claims(qq({"sub":"7","exp":$exp,"nbf":$_})), "nbf $_") for $now + 3600, '9223372036854775807', '9223372036854775808', '"0"', '1.5';
refused(claims(qq({"sub":"$_","exp":$exp})), "sub $_") for '7 ', '07', '7.0', '7e0', '-7', '٧', '7,8', "7' OR '1'='1", '9223372036854775808',
    '340282366920938463463374607431768211463', '7\n', '7\u200b';

# Large ones.
my $padded = sub ($n) { $usher->jwt(user => 7, claims => { pad => 'x' x $n }) };
my ($longest) = grep { length $padded->($_) <= 8192 } reverse 5500 .. 6100;
accepted($padded->($longest), 'a token of ' . length($padded->($longest)) . ' bytes');
refused($padded->($longest + 3), 'one of ' . length $padded->($longest + 3));
refused($padded->(40_000), 'one of ' . length $padded->(40_000));
refused('a.' x 30_000,     'one of dots');
refused(claims('{"a":' . '[' x 2000 . ']' x 2000 . '}'), 'one of brackets');
refused(claims('{' . join(',', map {qq("$_":0)} 0 .. 700) . '}'), 'one of members');

# Public keys: the key that everybody knows must not serve as a secret, in whatever form it is written.
my ($private, $public) = Usher::Jwt::key_pair($usher->{dir}, 'RS256');
my $rs = Usher::Stack->new(
    workers => 1,
    nginx   => 0,
    config  => { jwt_algorithm => 'RS256', jwt_key_file => $public, jwt_issuer => 'https://id.test', jwt_audience => 'usher' }
);
my %ours = (iss => 'https://id.test', aud => 'usher');
my $pem  = Usher::Process::slurp($public);
my ($der) = map { decode_base64($_) } $pem =~ /-----\n(.*)-----END/s;
my $pkcs1 = Usher::Process::must({}, qw(openssl rsa -pubin -RSAPublicKey_out -in), $public);
my %forms = (
    'the PEM file'          => $pem,
    'PEM without line end'  => $pem =~ s/\n\z//r,
    'PEM with CR LF'        => $pem =~ s/\n/\r\n/gr,
    'PEM with a NUL'        => "$pem\0",
    'PEM in one line'       => $pem =~ s/\n//gr,
    'only the base64'       => $pem =~ s/-----[^-]+-----|\n//gr,
    'DER'                   => $der,
    'PKCS#1'                => $pkcs1,
    'nothing'               => '',
    'the name of the file'  => $public,
);
my $claims = { sub => '7', exp => $now + 600, %ours };
accepted(Usher::Jwt::make({ alg => 'RS256' }, $claims, Usher::Jwt::signer('RS256', $private)), 'a good RS256 token', $rs);
for my $form (sort keys %forms) {
    for my $alg ('HS256', 'RS256', 'HS384', 'none', 'rs256') {
        refused(Usher::Jwt::make({ alg => $alg }, $claims, sub ($input) { hmac_sha256($input, $forms{$form}) }), "$alg, HMAC with $form", $rs);
    }
}
refused(Usher::Jwt::make({ alg => $_ }, $claims, Usher::Jwt::signer('RS256', $private)), "a good RS256 signature under alg $_", $rs)
    for 'rs256', 'RS384', 'PS256', 'HS256', 'none', 'RS256 ';
refused(Usher::Jwt::make({ alg => 'RS256' }, $claims, sub { $_[0] x 0 . "\0" x 256 }), 'a signature of zeros', $rs);
refused(Usher::Jwt::make({ alg => 'RS256' }, $claims, sub { "\0" x 255 . "\1" }), 'a signature of one', $rs);
refused(Usher::Jwt::make({ alg => 'RS256' }, $claims, sub { substr Usher::Jwt::signer('RS256', $private)->(shift), 0, $_ }), "$_ bytes of a signature", $rs)
    for 0, 1, 128, 255;

# Issuers and audiences that look alike.
my $rs_signer = Usher::Jwt::signer('RS256', $private);
my $meant     = sub (%other) { Usher::Jwt::make({ alg => 'RS256' }, { %$claims, %other }, $rs_signer) };
refused($meant->(iss => $_), "iss $_", $rs)
    for 'https://id.test/', 'https://ID.test', 'http://id.test', 'https://id.test.evil', ' https://id.test', '', 'https://id.tes';
refused($meant->(aud => $_), 'aud ' . (ref $_ ? "[@$_]" : $_), $rs)
    for 'Usher', 'usher ', 'ush', 'usher,other', '', [], [''], [ ['usher'] ], [ 'ushe', 'usher2' ], [ 1, 2 ];
accepted($meant->(aud => [ 'x', 'usher', 'usher' ]), 'aud may be a list', $rs);
my $raw = sub ($text) { Usher::Jwt::make({ alg => 'RS256' }, $text, $rs_signer) };
refused($raw->(qq({"sub":"7","exp":$exp,"iss":"https://id.test","aud":$_})), "aud $_", $rs)
    for '"usher\u0000x"', '["usher\u0000x"]', '"usher","aud":"x"', 'null', 'true', '{"usher":"usher"}';

is(scalar(() = $_->server_log =~ /\bstatus=5\d\d\b|died/g), 0, 'none of all this was more than a refusal') for $usher, $rs;

done_testing;
