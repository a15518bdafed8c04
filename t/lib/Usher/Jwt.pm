# Usher::Jwt: JSON Web Tokens, good ones and every kind of bad one, made without the code under test.
package Usher::Jwt;
use v5.36;
use Digest::SHA  qw(hmac_sha256 hmac_sha384);
use File::Temp   ();
use JSON::PP     ();
use MIME::Base64 qw(encode_base64url);
use Usher::Process;

my $json = JSON::PP->new->canonical->utf8;

# make(header, claims, sign): the three parts; header and claims are hashes or ready JSON texts; sign gets the signing input.
sub make ($header, $claims, $sign) {
    my $input = join '.', map { encode_base64url(ref $_ ? $json->encode($_) : $_) } $header, $claims;
    return "$input." . encode_base64url($sign->($input));
}

# A signer for an algorithm: HS256 and HS384 take the secret, RS256, ES256 and EdDSA the path of a PEM private key.
sub signer ($algorithm, $key) {
    return sub ($input) { hmac_sha256($input, $key) }
        if $algorithm eq 'HS256';
    return sub ($input) { hmac_sha384($input, $key) }
        if $algorithm eq 'HS384';
    return sub ($input) {''}
        if $algorithm eq 'none';
    return sub ($input) { _openssl_sign($algorithm, $key, $input) };
}

sub _openssl_sign ($algorithm, $key, $input) {
    my $file = File::Temp->new;
    Usher::Process::spew("$file", $input);
    my $signature
        = $algorithm eq 'EdDSA'
        ? Usher::Process::must({}, qw(openssl pkeyutl -sign -rawin -inkey), $key, '-in', "$file")
        : Usher::Process::must({}, qw(openssl dgst -sha256 -sign), $key, "$file");
    return $algorithm eq 'ES256' ? _raw_ecdsa($signature) : $signature;
}

# DER "SEQUENCE of two INTEGERs" to the 64 bytes that JWS wants.
sub _raw_ecdsa ($der) {
    my ($r, $s) = unpack 'x2 x C/a x C/a', $der;
    return join '', map { substr("\0" x 32 . $_, -32) } $r, $s;
}

# A key pair in the folder: (private PEM, public PEM).
sub key_pair ($folder, $algorithm) {
    my ($private, $public) = map {"$folder/$algorithm.$_.pem"} qw(private public);
    my @kind = {
        RS256 => [qw(-algorithm RSA -pkeyopt rsa_keygen_bits:2048)],
        ES256 => [qw(-algorithm EC -pkeyopt ec_paramgen_curve:P-256)],
        EdDSA => [qw(-algorithm ED25519)],
    }->{$algorithm}->@*;
    Usher::Process::must({}, qw(openssl genpkey -out), $private, @kind);
    Usher::Process::must({}, qw(openssl pkey -pubout -in), $private, '-out', $public);
    return ($private, $public);
}

1;
