#!/usr/bin/perl
# The nginx configuration as text: what build-aux/nginx-conf writes is accepted by nginx, is complete, and has the settings that
# a request cannot show. (How nginx answers is asked in api_nginx.t.)
use strict;
use warnings;
use File::Spec::Functions qw(rel2abs);
use File::Temp qw(tempdir);
use Test::More;

$ENV{PATH} .= ':/usr/sbin:/sbin';
my $source = rel2abs($ENV{USHER_SRCDIR} // '.');
my $tool   = "$source/build-aux/nginx-conf";
my $folder = tempdir(CLEANUP => 1);

# What a command prints on both outputs, and its exit status.
sub run {
    my (@command) = @_;
    my $pid = open my $out, '-|' // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec @command or exit 127;
    }
    my $text = do { local $/; <$out> } // '';
    close $out;
    return ($text, $? >> 8);
}

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    local $/;
    return scalar <$in>;
}

sub spew {
    my ($file, $text) = @_;
    open my $out, '>', $file or die "$file: $!";
    print {$out} $text;
    close $out or die "$file: $!";
    return $file;
}

# What nginx says of a configuration.
sub nginx_says {
    my ($text) = @_;
    my $file = spew("$folder/nginx.conf", $text);
    return run('nginx', '-t', '-q', '-p', $folder, '-c', $file, '-e', 'stderr');
}

# Without comments.
sub directives { return $_[0] =~ s/^\s*#.*\n//mgr }

my @given = ('--dir', $folder, '--listen', '127.0.0.1:18080', '--socket', "$folder/usher.sock", '--shop-socket', "$folder/shop.sock");
my ($conf, $status) = run($tool, @given);
is($status, 0, 'nginx-conf writes a configuration');
my ($said, $tested) = nginx_says($conf);
is($tested, 0,  'nginx accepts it');
is($said,   '', '... without a warning');
(undef, $tested) = nginx_says($conf =~ s/fastcgi_cache_lock on;/fastcgi_cache_lok on;/r);
isnt($tested, 0, 'nginx would refuse a wrong one');

my $text = directives($conf);
unlike($text, qr/\@[A-Z_]+\@/, 'every word of the template is filled in');
unlike($text, qr/\binclude\b/, 'the private configuration is whole in one file');
unlike($text, qr/fastcgi_keep_conn/, 'no kept connection may hold a worker');
unlike($text, qr/^\s*keepalive \d/m, '... nor a pool of them');
is(() = $text =~ /fastcgi_cache usher_line;/g, 1, 'exactly one location is cached');

# The body of a location.
sub location {
    my ($name) = @_;
    my ($body) = $text =~ /location \Q$name\E \{\n(.*?)\n        \}/s;
    return $body // '';
}

# Which location a path is led to: an exact one, else the first pattern that fits, else the longest beginning.
sub way_of {
    my ($path) = @_;
    my @names = $text =~ /location ([^{]+) \{/g;
    my ($name) = grep { $_ eq "= $path" } @names;
    $name //= (grep {/^~ (.*)/ && $path =~ /$1/} @names)[0];
    $name //= (sort { length $b <=> length $a } grep { index($path, $_) == 0 } @names)[0];
    return (location($name) =~ /fastcgi_pass (\w+);/)[0];
}
is(way_of($_), 'usher', "$_ goes to the line's socket")
    for '/v1/queue', '/v1/queue/tokens', '/v1/queue/tokens/me';
is(way_of($_), 'usher_shop', "$_ goes to the shop's")
    for '/v1/concerts', '/v1/concerts/1/schedules', '/v1/schedules/1/seats', '/v1/reservations', '/v1/reservations/7', '/v1/payments',
    '/v1/balance', '/v1/balance/charges', '/v1/nothing', '/healthz', '/readyz';
my %socket_of = $text =~ /upstream (\w+) \{\s*server "unix:([^"]+)" max_fails=0;/g;
is_deeply(\%socket_of, { usher => "$folder/usher.sock", usher_shop => "$folder/shop.sock" }, 'and each is where it was said to be');

my $line = location('= /v1/queue');
like($line, qr/fastcgi_cache usher_line;/, '... and it is the line');
like($line, qr/fastcgi_cache_key usher-line;/, 'its key has nothing from the client');
like($line, qr/fastcgi_pass_request_headers off;/, 'no client header reaches the request that fills it');
unlike($line, qr/fastcgi_param (?!REMOTE_ADDR )\w+ \$(?!usher_line_method|request_id)/, '... nor anything else of the client');
like($line, qr/fastcgi_cache_use_stale updating;/, 'the old copy is served');
like($line, qr/fastcgi_cache_background_update on;/, '... while one request refreshes it');

like($line, qr/fastcgi_cache_lock_timeout 100ms;/, '... and nobody waits long for the first copy, whose coming is not noticed');
like($line, qr/open_file_cache max=/, '... whose file is not opened for each request');
unlike($text =~ s/location = \/v1\/queue \{.*?\n        \}//sr, qr/open_file_cache/, '... which nothing else needs');
like($conf, qr/^pcre_jit on;/m, 'patterns are compiled');

# Whose limit counts for a bearer token. (nginx' expressions are Perl's.)
my ($bearer) = $text =~ /"~\*?(.+)" "bearer \$usher_signature";/;
my $last = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO-_';
my $caller = sub { return $_[0] =~ /$bearer/i ? $+{usher_signature} : 'the address' };
is($caller->("$_->[1]$last"), substr($last, -22), "a bearer token's limit is its own: $_->[0]")
    for ['HS256', 'Bearer e30.e30.'], ['ES256', 'Bearer e30.e30.' . 'x' x 43], ['RS256', 'Bearer e30.e30.' . 'x' x 299],
    ['another spelling', 'bearer   e30.e30.'];
is($caller->($_), 'the address', 'what is none counts for the address: ' . substr $_, 0, 30)
    for "$last", "Bearer $last", "Bearer e30.$last", "Basic e30.e30.$last", "Bearer e30.e30.$last ", "Bearer e30.e30.e30.$last",
    'Bearer e30.e30.' . substr($last, -21), 'Bearer ' . ' ' x 5000 . $last, 'Bearer e30.e30.' . 'x' x 16_000 . '!';

my @locations = $text =~ /location ([^{]+) \{/g;
for my $name (@locations) {
    my $body = location($name);
    next if $body !~ /fastcgi_pass /;
    for my $want (
        'fastcgi_next_upstream off;',
        'fastcgi_request_buffering on;',
        'fastcgi_intercept_errors off;',
        'fastcgi_connect_timeout 1s;',
        'fastcgi_read_timeout 5s;',
        'fastcgi_hide_header X-Request-Id;',
        'fastcgi_param HTTP_X_REQUEST_ID $request_id;',
        'fastcgi_param HTTP_PROXY "";',
        'limit_req zone=usher_address burst=400 nodelay;'
      )
    {
        like($body, qr/^\s*\Q$want\E$/m, "$name: $want");
    }
}
for my $path (qw(/v1/payments /v1/payments/1 /v1/reservations /v1/reservations/7 /v1/balance/charges /v1/queue/tokens)) {
    my ($name) = grep { my ($regex) = /^~ (.*)/; $regex && $path =~ /$regex/ } @locations;
    like(location($name // ''), qr/fastcgi_ignore_client_abort on;/, "$path is finished even if the client has gone");
}
like($text, qr/client_max_body_size 16k;/,    'a body has at most 16k');
like($text, qr/client_body_buffer_size 16k;/, '... and all of it fits into memory');
unlike($text =~ s/map .*?\n    \}\n//sgr, qr/log_format[^;]*\$(?:http_|args|request_uri|request\b|query_string)/,
    'the log has no header and no query');

my ($site, $site_status) = run(
    $tool,                           '--site',  '--listen',                 '80',      '--socket', '/run/usher/usher.sock',
    '--snippets', "$source/nginx/snippets", '--cache', '/var/cache/nginx/usher', '--rate-token', '7r/s', '--burst-token', '13'
);
is($site_status, 0, 'nginx-conf --site writes the part for an installation');
unlike($site, qr/\@[A-Z_]+\@/, '... with every word filled in');
is(() = $site =~ m{server "unix:/run/usher/usher\.sock"}g, 2, '... where the shop has the line\'s socket unless it is given one');
like($site, qr/rate=7r\/s;/, '... with the rate that was asked for');
like($site, qr/zone=usher_caller burst=13 nodelay;/, '... and the burst');
$site =~ s{/var/cache/nginx/usher}{$folder/cache};
$site =~ s{/var/log/nginx/usher\.log}{$folder/usher.log};
$site =~ s{listen 80 }{listen 127.0.0.1:18080 };
($said, $tested) = nginx_says(<<"CONF");
pid $folder/nginx.pid;
events { }
http {
    client_body_temp_path $folder/body;
    fastcgi_temp_path $folder/fastcgi;
    proxy_temp_path $folder/proxy;
    scgi_temp_path $folder/scgi;
    uwsgi_temp_path $folder/uwsgi;
$site
}
CONF
is($tested, 0, '... which nginx accepts') or diag $said;

# Every code that nginx answers with is one of the application's.
my %known = map { $_ => 1 } slurp("$source/src/base/error.h") =~ /ROW\(\w+,\s*"([a-z-]+)"/g;
my ($map) = $text =~ /map \$status \$usher_problem_code \{(.*?)\}/s;
my %used = $map =~ /(\w+) ([a-z-]+);/g;
is_deeply([grep { !$known{$_} } values %used], [], 'nginx\' problem codes are known to the application');

for my $case (
    [['--dir', $folder], 'no address'],
    [[@given, '--rate'], 'an unknown option'],
    [[@given, '--workers'], 'an option without value'],
    [['--dir', "$folder;}", '--listen', '1', '--socket', 'x'], 'a value that would break out'],
  )
{
    my ($arguments, $name) = @$case;
    my ($words, $code) = run($tool, @$arguments);
    is($code, 64, "$name is wrong usage");
    like($words, qr/^nginx-conf: /, '... and it says what is wrong');
}

done_testing();
