# Who is answered first: people who have been let in, but not so that the line would stand still.
use v5.36;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Usher::Check;
use Usher::Stack;

my $usher = Usher::Stack->new(workers => 1);
my %socket = (line => $usher->{socket}, shop => $usher->{shop_socket});
my %path   = (line => '/healthz',       shop => '/v1/balance');

# One request on its way to the workers, whole, by one of the sockets.
sub ask ($where) {
    local $usher->{socket} = $socket{$where};
    my $request = $usher->fcgi_open(GET => $path{$where}, user => 7);
    $request->finish;
    return $request;
}

# The order in which these requests are answered that come, one after the other, while the only worker stands still: as runs,
# "shop 8".
sub order (@come) {
    my ($worker) = $usher->{process}->children;
    my $before = length $usher->server_log;
    kill STOP => $worker;
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

is_deeply(order(('line') x 3, ('shop') x 3), [ 'shop 3', 'line 3' ], 'the shop comes first, though the line was there before');
is_deeply(
    order(('line') x 5, ('shop') x 20),
    [ 'shop 8', 'line 1', 'shop 8', 'line 1', 'shop 4', 'line 3' ],
    'but after eight in a row the line has its turn'
);
is_deeply(order(('shop') x 12), ['shop 12'], 'which nobody waits for while nobody is there');
is_deeply(order('line', ('shop') x 9), [ 'line 1', 'shop 9' ], 'and which it then has at once');
is_deeply(order(('line') x 12), ['line 12'], 'nor does the line wait for the shop');

done_testing;
