# Usher::Check: assertions about responses. Each is one test line, which says all that is wrong when it fails.
package Usher::Check;
use v5.36;
use parent 'Exporter';
use B          ();
use JSON::PP   ();
use Test::More ();

our @EXPORT = qw(status_is header_is shape_is problem_is invalid_is unchanged_ok kind_error);

my $time = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/;

# Whether a decoded value was written as a JSON number without fraction or exponent.
sub _is_int ($value) {
    return 0 if !defined $value || ref $value;
    my $flags = B::svref_2object(\$value)->FLAGS;
    return ($flags & B::SVf_IOK) && !($flags & B::SVf_POK);
}

sub _is_number ($value) {
    return 0 if !defined $value || ref $value;
    my $flags = B::svref_2object(\$value)->FLAGS;
    return ($flags & (B::SVf_IOK | B::SVf_NOK)) && !($flags & B::SVf_POK);
}

sub _is_string ($value) { defined $value && !ref $value && !_is_number($value) }

my %kinds = (
    int    => \&_is_int,
    number => \&_is_number,
    string => \&_is_string,
    time   => sub ($value) { _is_string($value) && $value =~ $time },
    token  => sub ($value) { _is_string($value) && $value =~ /^[A-Za-z0-9_-]{22}$/ },
    bool   => sub ($value) { JSON::PP::is_bool($value) },
    null   => sub ($value) { !defined $value },
);

# What is wrong with a value, '' when nothing. A shape is a kind ("int", "time|null", "=text" for exactly that text), an array
# of one shape, or a hash of shapes with exactly these members.
sub kind_error ($value, $shape, $at = 'body') {
    return _hash_error($value, $shape, $at) if ref $shape eq 'HASH';
    if (ref $shape eq 'ARRAY') {
        return "$at is no array" if ref $value ne 'ARRAY';
        return join '; ', grep {length} map { kind_error($value->[$_], $shape->[0], "${at}[$_]") } 0 .. $#$value;
    }
    for my $kind (split /\|/, $shape) {
        return '' if $kind =~ /^=(.*)/ ? _is_string($value) && $value eq $1 : $kinds{$kind}->($value);
    }
    return "$at is not $shape: " . JSON::PP->new->allow_nonref->encode($value);
}

sub _hash_error ($value, $shape, $at) {
    return "$at is no object" if ref $value ne 'HASH';
    my @wrong = map {"$at.$_ is missing"} grep { !exists $value->{$_} } sort keys %$shape;
    push @wrong, map {"$at.$_ is not in the contract"} grep { !exists $shape->{$_} } sort keys %$value;
    push @wrong,
        grep {length}
        map { kind_error($value->{$_}, $shape->{$_}, "$at.$_") } grep { exists $value->{$_} } sort keys %$shape;
    return join '; ', @wrong;
}

sub _report ($name, $r, @wrong) {
    local $Test::Builder::Level = $Test::Builder::Level + 2;
    @wrong = grep { defined && length } @wrong;
    my $ok = Test::More::ok(!@wrong, $name);
    Test::More::diag(join "\n  ", @wrong, 'answer: ' . _show($r)) if !$ok;
    return $ok;
}

sub _show ($r) {
    return 'none' if !$r;
    return join ' ', $r->status, (map {"$_->[0]: $_->[1];"} grep { defined $_->[0] } @{ $r->{headers} }),
        substr $r->body, 0, 600;
}

sub _status_error ($r, $status) { !$r ? 'no answer' : $r->status != $status ? "status is not $status" : '' }

sub _header_error ($r, $header, $wanted) {
    my $value = $r ? $r->header($header) : undef;
    return if !defined $wanted && !defined $value;
    return "$header is there: $value" if !defined $wanted;
    return "$header is missing" if !defined $value;
    return if ref $wanted ? $value =~ $wanted : $value eq $wanted;
    return "$header is '$value', not '$wanted'";
}

sub status_is ($r, $status, $name) { _report($name, $r, _status_error($r, $status)) }

# wanted: a text, a pattern, or undef for "must not be there".
sub header_is ($r, $header, $wanted, $name) { _report($name, $r, _header_error($r, $header, $wanted)) }

# A good answer: status, application/json and the exact shape; more headers as name => wanted.
sub shape_is ($r, $status, $shape, $name, %headers) {
    return _report(
        $name, $r,
        _status_error($r, $status),
        _header_error($r, 'Content-Type', qr{^application/json(?:;\s*charset=utf-8)?$}i),
        $r ? kind_error($r->json, $shape) : (),
        map { _header_error($r, $_, $headers{$_}) } sort keys %headers
    );
}

my %titles;

sub _problem_errors ($r, $status, $code, $more) {
    my $body  = $r && $r->json;
    my $shape = {
        type     => "=/problems/$code",
        title    => 'string',
        status   => 'int',
        detail   => 'string',
        code     => "=$code",
        trace_id => 'string'
    };
    my @wrong = (
        _status_error($r, $status),
        _header_error($r, 'Content-Type', 'application/problem+json'),
        kind_error($body, { %$shape, %$more }),
    );
    return @wrong if ref $body ne 'HASH';
    push @wrong, 'status in the body differs' if ($body->{status} // '') ne $status;
    push @wrong, 'title is empty' if !length($body->{title} // '');
    $titles{$code} //= $body->{title} if !@wrong;
    push @wrong, "title differs from '$titles{$code}'"
        if defined $titles{$code} && $titles{$code} ne ($body->{title} // '');
    my $trace = ref $body->{trace_id} ? '' : $body->{trace_id} // '';
    push @wrong, 'trace_id is not X-Request-Id' if $trace ne ($r->header('X-Request-Id') // $trace) || !length $trace;
    return @wrong;
}

# An error answer of RFC 9457: status, code and all its members; more: further members as name => shape, and a hash of
# headers under "headers".
sub problem_is ($r, $status, $code, $name, %more) {
    my %headers = %{ delete $more{headers} // {} };
    return _report(
        $name, $r,
        _problem_errors($r, $status, $code, \%more),
        map { _header_error($r, $_, $headers{$_}) } sort keys %headers
    );
}

# 400 invalid-request whose errors name this field.
sub invalid_is ($r, $field, $name) {
    my @wrong =
        _problem_errors($r, 400, 'invalid-request', { errors => [ { field => 'string', message => 'string' } ] });
    my $errors = $r && ref $r->json eq 'HASH' && $r->json->{errors};
    push @wrong, "errors does not name $field"
        if !grep { ref eq 'HASH' && ($_->{field} // '') eq $field } ref $errors eq 'ARRAY' ? @$errors : ();
    return _report($name, $r, @wrong);
}

# Runs the code and asserts that neither PostgreSQL nor the seats in Redis were changed by it.
sub unchanged_ok ($usher, $name, $code) {
    my $before = $usher->state_digest;
    $code->();
    my %was   = map { ($_ => 1) } split /\n/, $before;
    my @now   = split /\n/, $usher->state_digest;
    my %is    = map { ($_ => 1) } @now;
    my @wrong = ((map {"new: $_"} grep { !$was{$_} } @now), map {"gone: $_"} grep { !$is{$_} } sort keys %was);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $ok = Test::More::ok(!@wrong, $name);
    Test::More::diag(join "\n  ", @wrong) if !$ok;
    return $ok;
}

1;
