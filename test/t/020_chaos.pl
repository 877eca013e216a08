# Never lost, never doubled: random transactions of several sessions, while processes of PostgreSQL and
# the API server are killed with -9, connections break, answers are cut, garbled, late or refused, and the
# primary fails over to its standby. After each round every row must have exactly one document, which says
# exactly what the row says, and nothing else may be left anywhere.
#
# CHAOS_ROUNDS: how many; CHAOS_SEED: the seed that a run before this one has printed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../chaos";
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Chaos;
use MixpeekTest;

my $rounds = $ENV{CHAOS_ROUNDS} || 3;
my $seed = $ENV{CHAOS_SEED} || int(rand(1_000_000_000));
my @wrongs = qw(lost doubled stray stuck);

# Count what compare() found, and write it to the log.
sub numbers
{
	my ($wrong) = @_;

	foreach my $kind (@wrongs)
	{
		diag("$kind: $_") foreach @{ $wrong->{$kind} };
	}
	return { map { $_ => scalar(@{ $wrong->{$_} }) } @wrongs };
}

my $clean = { map { $_ => 0 } @wrongs };
my %total = %$clean;

srand($seed);
diag("CHAOS_SEED=$seed");

# The proof can fail

# Settings under which nothing is flushed but what must be.
my $lazy = "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB\nautovacuum = off";

sub run_scenarios
{
	my ($name, %options) = @_;
	my $chaos = Chaos->new(name => $name, conf => $lazy, %options);

	foreach my $scenario (sort keys %Chaos::scenarios)
	{
		$chaos->scenario($scenario);
		is_deeply(numbers($chaos->compare), $clean, "$scenario: nothing is lost or doubled");
	}
	is($chaos->{counts}{overlaps}, 0, "$name library: no two changes of a document were under way at once");
	$chaos->end;
	return;
}

# With the library whose safeguards can be switched off, in an installation of its own.
sub run_weakened
{
	my $chaos = Chaos->new(name => 'weak', conf => $lazy, install_path => $ENV{MIXPEEK_WEAK});
	my @doubled;

	foreach my $scenario (sort keys %Chaos::scenarios)
	{
		$chaos->set("mixpeek.weaken = $scenario");
		$chaos->scenario($scenario);
		push @doubled, "c_pairs ($scenario,1)";
		is_deeply($chaos->compare->{doubled}, \@doubled,
			"without $scenario: a document is doubled, and the proof finds it");
	}
	$chaos->end;
	return;
}

# A standby that lacks what its primary did last goes on: what comes again is found, not doubled, and what
# the documentation says to do then makes all of it right.
sub run_late_standby
{
	my $chaos = Chaos->new(name => 'late', standby => 1);

	$chaos->sql("INSERT INTO pairs VALUES ('changed', 1, 'v'), ('deleted', 1, 'v')");
	is_deeply(numbers($chaos->compare), $clean, 'late standby: nothing is lost or doubled before it is cut off');
	$chaos->cut_off_standby;
	$chaos->sql(q{
		INSERT INTO pairs VALUES ('inserted', 1, 'v');
		UPDATE pairs SET v = 'w' WHERE a = 'changed';
		DELETE FROM pairs WHERE a = 'deleted';
	});
	is_deeply(numbers($chaos->compare), $clean, 'late standby: nothing is lost or doubled at the primary afterwards');
	$chaos->fail_over;
	$chaos->sql("INSERT INTO pairs VALUES ('inserted', 1, 'x')");
	is_deeply($chaos->compare->{doubled}, [], 'late standby: a row inserted again after its promotion is not doubled');
	$chaos->sql(documented_statement());
	is_deeply(numbers($chaos->compare), $clean, "late standby: the documented statement makes the documents equal to the rows");
	$chaos->end;
	return;
}

sub documented_statement
{
	my ($section) = documentation() =~ /^### A standby that lacks commits\n(.*?)^###/ms;
	return ($section =~ /`(SELECT [^`]*)`/)[0];
}

run_scenarios('safe');
run_late_standby();
SKIP:
{
	skip 'there is no library without safeguards (test/run builds one)', 3 unless $ENV{MIXPEEK_WEAK};
	run_weakened();
}

# The proof

my $chaos = Chaos->new(name => 'proof', standby => 1, latency => 5);
foreach my $round (1 .. $rounds)
{
	$chaos->round(events => 10, failover => $round % 3 == 2);
	my $numbers = numbers($chaos->compare);
	is_deeply($numbers, $clean, "round $round: one document a row, and nothing else");
	$total{$_} += $numbers->{$_} foreach @wrongs;
	diag("after " . $chaos->summary) if $round % 10 == 0;
}
is($chaos->{counts}{overlaps}, 0, 'no two changes of one document were ever under way at once');
diag($chaos->summary . ", lost $total{lost}, doubled $total{doubled}, stray $total{stray}, stuck $total{stuck}");
$chaos->end;

done_testing();
