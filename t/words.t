#!/usr/bin/perl
# The documents against the tree: what they name exists, the README's walk is what ./dev run prints, and its keys are all keys.
use v5.36;
use FindBin;
use Test::More;

my $source = $ENV{USHER_SRCDIR}   // "$FindBin::Bin/..";
my $build  = $ENV{USHER_BUILDDIR} // "$source/build/check";
delete @ENV{ grep {/^USHER_/} keys %ENV };

sub slurp ($path) {
    open my $in, '<', $path or die "$path: $!\n";
    local $/;
    return scalar <$in>;
}

sub output (@command) {
    open my $out, '-|', @command or die "$command[0]: $!\n";
    local $/;
    return scalar <$out>;
}

my %document = map { (s{.*/}{}r => slurp($_)) } glob "$source/*.md";
ok($document{$_}, "there is a $_") for qw(README.md ARCHITECTURE.md CONTRIBUTING.md SECURITY.md NEWS.md);
like(slurp("$source/LICENSE"), qr/^MIT License$/m, 'the licence is there');

# ---- the walk

my ($printed) = slurp("$source/build-aux/dev/stack.sh") =~ /^    cat <<WELCOME\n(.*?)^WELCOME$/ms;
my @values = (
    [ qr/^(.*URL=)\$URL\b/m                   => 'http://127.0.0.1:8080' ],
    [ qr/^(.*\\\$\(')\$dev\b/m                => './dev' ],
    [ qr/^(.*)\$\(setting promote_period\)/m  => '10s' ],
    [ qr/^(.*)\$\(setting claim_window\)/m    => '60s' ],
    [ qr/^(.*)\$\{concert:-1\}/m              => '1' ],
);
for (@values) {
    my ($place, $value) = @$_;
    ok($printed =~ s/$place/$1$value/, "dev fills in $value");
}
$printed =~ s/\\([\$`\\])/$1/g;    # as a shell reads the text
my @lines = $printed =~ /^  (\S.*)$/mg;
my @walk  = grep {/curl|token 1/} map { split /\n/ } $document{'README.md'} =~ /^```sh\n(.*?)^```$/msg;
@walk = grep { !/localhost|apt-get/ } @walk;
cmp_ok(scalar @lines, '>', 8, 'the walk has steps');
is_deeply(\@walk, \@lines, 'the walk in README.md is what ./dev run prints');
for my $says ($printed =~ /^(\S.*):$/mg) {
    like($document{'README.md'}, qr/^\Q$says\E:$/m, "README.md: $says") if $says !~ /paste these lines|answers/;
}

# ---- the keys

my @keys = output("$build/usherctl", '-c', '/dev/null', '--print-config') =~ /^(\w+) = /mg;
my ($table) = $document{'README.md'} =~ /^\| what \| keys \|\n(.*?)^$/ms;
is_deeply([ sort $table =~ /`(\w+)`/g ], [ sort @keys ], 'the table of keys in README.md has each key once');

# ---- what is named exists

my $sql  = join '', map { slurp($_) } glob "$source/sql/[0-9]*.sql";
my $verb = slurp("$source/dev");
my $help = output("$build/usherctl", '--help');
for my $name (sort keys %document) {
    my $text = $document{$name};
    my %bad;
    for ($text =~ /\]\(((?!https?:)[^)#]+)\)/g) { $bad{"link $_"}++ if !-e "$source/$_" }
    for ($text =~ m{`((?:src|sql|t|nginx|systemd|man|build-aux)/[\w./*-]*)`}g) {
        next if m{sql/NNN_};
        my @found = glob "$source/$_";
        $bad{"path $_"}++ if !@found || !-e $found[0];
    }
    for ($text =~ m{`(\w+\.lua)`}g)                          { $bad{"script $_"}++ if !-e "$source/src/store/lua/$_" }
    for ($text =~ /`(usher_\w+)\(\)`/g)                      { $bad{"function $_"}++ if $sql !~ /\b\Q$_\E\(/ }
    for ($text =~ /(?<![\w-])usherctl (?:-- )?([a-z]+)\b/g)  { $bad{"command $_"}++ if $help !~ /^  (?:\w+, )*\Q$_\E\b/m && !/^(?:and|for|do|to|is|will)$/ }
    for ($text =~ m{\./dev ([a-z][\w-]*)}g)                  { $bad{"verb $_"}++ if $verb !~ /^  \Q$_\E\b/m }
    is_deeply([ sort keys %bad ], [], "$name: what it names exists");
}

# Words that would be missed are noticed.
unlike($help, qr/^  (?:\w+, )*nonsense\b/m, 'a command that is none would be found out');

done_testing();
