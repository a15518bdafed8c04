# Who is answered first: people who have been let in, but not so that the line would stand still.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Select;
use Socket;
use Test::More;
use Usher::Check;
use Usher::FastCgi;
use Usher::Stack;

my $usher = Usher::Stack->new(workers => 1);
my %path  = (line => '/healthz', shop => '/v1/balance');

# One request on its way to the workers, whole, by one of the sockets.
sub ask ($where) {
    local $usher->{socket} = $usher->{ $where eq 'line' ? 'socket' : 'shop_socket' };
    my $request = $usher->fcgi_open(GET => $path{$where}, user => 7);
    $request->finish;
    return $request;
}

# The order in which these requests are answered that come, one after the other, while the only worker stands still: as runs,
# "shop 2".
sub order (@come) {
    my ($worker) = $usher->{process}->children;
    my $before = length $usher->server_log;
    kill STOP => $worker;
    Usher::Process::until_true(sub { Usher::Process::slurp("/proc/$worker/stat") =~ /\) T / });
    my @requests = map { ask($_) } @come;
    kill CONT => $worker;
    status_is($_->response, 200, 'it is answered') for @requests;
    my @runs;
    my $logged = Usher::Process::until_true(sub {
        my @routes = substr($usher->server_log, $before) =~ /\brequest id=.*?\broute=(\S+)/g;
        return @routes == @come && \@routes;
    });
    for (@{ $logged || [] }) {
        my $where = $_ eq $path{line} ? 'line' : 'shop';
        @runs && $runs[-1][0] eq $where ? $runs[-1][1]++ : push @runs, [ $where, 1 ];
    }
    return [ map {"@$_"} @runs ];
}

is_deeply(order(('line') x 3, ('shop') x 2), [ 'shop 2', 'line 3' ], 'the shop comes first, though the line was there before');
is_deeply(
    order(('line') x 5, ('shop') x 5),
    [ 'shop 2', 'line 1', 'shop 2', 'line 1', 'shop 1', 'line 3' ],
    'but after two in a row the line has its turn'
);
is_deeply(order(('shop') x 12), ['shop 12'], 'which nobody waits for while nobody is there');
is_deeply(order('line', ('shop') x 9), [ 'line 1', 'shop 9' ], 'and which it then has at once');
is_deeply(order(('line') x 12), ['line 12'], 'nor does the line wait for the shop');

# A connection wakes one sleeper. Whoever is woken by one of the line's and takes one of the shop's, which came at the same moment,
# leaves the line's to whoever was woken by that: it must not wait until he is done. Here he is held up by a lock.
my $pair    = Usher::Stack->new(workers => 2);
my $session = $pair->session;
my ($headers) = $pair->_parts(user => 7);
my %params = map { ($_ => Usher::FastCgi::params(GET => $path{$_}, $headers, undef)) } keys %path;

sub at_once (@where) {
    my @sockets = map { socket my $s, PF_UNIX, SOCK_STREAM, 0 or die "socket: $!\n"; $s } @where;
    my @names   = map { pack_sockaddr_un($pair->{ $_ eq 'line' ? 'socket' : 'shop_socket' }) } @where;
    connect $sockets[0], $names[0] and connect $sockets[1], $names[1] or die "connect: $!\n";
    my %request = map { ($where[$_] => Usher::FastCgi->over($sockets[$_], $params{ $where[$_] })) } 0, 1;
    $_->finish for values %request;
    return @request{qw(line shop)};
}

# Who is left is found when a worker next gives a sign of life, a second after it went to sleep: less than that is a slow machine.
my $left = 0;
for my $round (1 .. 60) {
    $session->run('BEGIN; LOCK TABLE asset');
    my ($line, $shop) = at_once($round % 2 ? qw(line shop) : qw(shop line));
    $left++ if !IO::Select->new($line->{socket})->can_read(0.7);
    $session->run('ROLLBACK');
    $_->response->status == 200 or die "a request was not answered\n" for $line, $shop;
}
is($left, 0, 'nobody is left in a queue while a worker sleeps');

done_testing;
