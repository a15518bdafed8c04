# cache.pl: the seed's measurement of the concert pages, repeated: 1,000 concerts in pages of 100, page 8 (page=7) read 100
# times one after the other, and then by 32 connections, without cache, with a cache of 20 s, with the default that hits
# prolong (10 s up to 30 s), and by cursor. See Bench.pm for what it finds in the environment.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Bench;
use IO::Socket::INET;
use Time::HiRes ();

my ($host) = $at{url} =~ m{//(.*)};
my (undef, $jwt, $token) = split /\t/, (passes(1))[0];
my $headers = "Authorization: Bearer $jwt\r\nQueue-Token: $token\r\n";

# One GET on an open connection: (status, body).
sub get ($socket, $path) {
    print {$socket} "GET $path HTTP/1.1\r\nHost: $host\r\n$headers\r\n";
    my ($status, $length) = (0, 0);
    while (my $line = <$socket>) {
        $status = $1 if $line =~ m{^HTTP/1.1 (\d+)};
        $length = $1 if $line =~ /^content-length: (\d+)/i;
        last if $line eq "\r\n";
    }
    my $body = '';
    while (length $body < $length) {
        read $socket, $body, $length - length $body, length $body or last;
    }
    fail("$path is answered with $status: $body") if $status != 200;
    return $body;
}

sub connection () { IO::Socket::INET->new(PeerAddr => $host) // fail("cannot connect to $host: $!") }

# The cursor of page 8: each page names the next.
sub cursor_path () {
    my ($socket, $path) = (connection(), '/v1/concerts?limit=100');
    for (1 .. 7) {
        my ($next) = get($socket, $path) =~ /"next":"([^"]+)"/ or fail("$path has no next page");
        $path = "/v1/concerts?limit=100&after=$next";
    }
    return $path;
}

sub activate () {
    lua(<<'LUA', 1, 1, ['q:{main}:tokens', 'q:{main}:active']);
local at = redis.call('TIME')[1]
redis.call('HSET', KEYS[1], '1', '1 ' .. at .. '000 ' .. at .. '000 ' .. at .. '000')
redis.call('ZADD', KEYS[2], (at + 36000) .. '000', '1')
LUA
}

sub hundred ($path) {
    my $socket = connection();
    get($socket, $path);
    my $begin = Time::HiRes::time();
    get($socket, $path) for 1 .. 100;
    return Time::HiRes::time() - $begin;
}

my $numbered = '/v1/concerts?page=7&size=100';
my @cases = (
    ['none',      'without cache',                 0, $numbered, concert_cache_ttl => '0',   concert_cache_max => '0'],
    ['fixed',     'cache of 20 s',                 0, $numbered, concert_cache_ttl => '20s', concert_cache_max => '20s'],
    ['prolonged', 'cache of 10 s, hits prolong it', 0, $numbered, concert_cache_ttl => '10s', concert_cache_max => '30s'],
    ['cursor',    'by cursor, without cache',      1, undef,     concert_cache_ttl => '0',   concert_cache_max => '0'],
    ['cursor-cached', 'by cursor, cached',         1, undef,     concert_cache_ttl => '10s', concert_cache_max => '30s', concert_cache_pages => 10],
);

activate();
write_work('one', (passes(1))[0], (passes(1))[0]);
printf "%-32s %14s %10s %8s %8s %8s\n", 'page 8 of 1,000 concerts', '100 reads, s', 'reads/s', 'p50 us', 'p99 us', 'CPU us';
my @results;
for my $case (@cases) {
    my ($name, $what, $by_cursor, $path, %settings) = @$case;
    configure(%settings);
    sleep 2;
    $path = cursor_path() if $by_cursor;
    my $seconds = median(map { hundred($path) } 1 .. $at{runs});
    my @runs = sort { $a->{per_s} <=> $b->{per_s} }
        map { wrk($at{seconds}, $at{url}, 'work.lua', 'GET', $path, '-', 'ut', 'again', "$at{work}/one") } 1 .. $at{runs};
    my $run = $runs[ @runs / 2 ];
    fail("$run->{refused} refused, $run->{broken} broken reads") if $run->{refused} || $run->{broken};
    my $cpu = 0;
    $cpu += $run->{cpu}{$_} // 0 for qw(usher-server redis postgresql nginx);
    $cpu /= $run->{requests};
    printf "%-32s %14.3f %10.0f %8d %8d %8.0f\n", $what, $seconds, $run->{per_s}, $run->{p50}, $run->{p99}, $cpu;
    push @results, { name => $name, what => $what, hundred_reads_s => sprintf('%.4f', $seconds), per_s => sprintf('%.0f', $run->{per_s}),
        p50_us => $run->{p50}, p99_us => $run->{p99}, cpu_us => sprintf('%.1f', $cpu) };
}
say_now("The seed's figures: 2.092 s for 100 reads without cache, 1.52 s with it.");
write_file("$at{run}/bench-cache.json", json({ cases => \@results, seconds => $at{seconds}, runs => $at{runs} }) . "\n");
