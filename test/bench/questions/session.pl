# Whether a session that commits many transactions on a mirrored table stays as fast as it was: the
# median time of its last thousand against that of its first, without a trigger and with one.
package Question::Session;
use strict;
use warnings;
use utf8;

# Median microseconds of each thousandth part, as points.
sub transactions
{
	my ($bench, $table, $number) = @_;
	my $file = $bench->work . '/session.sql';
	my $log = $bench->work . '/transactions';
	my $part = int($number / 100) || 1;
	my (@points, @latencies);

	open(my $out, '>', $file) or die $!;
	print $out "INSERT INTO $table (section_id, name, section, price, stock, active, description, updated_at) "
		. "VALUES (1, 'Product', 'libs', 12.5, 42, true, 'A product of the benchmark', now());\n";
	close $out;
	my $said = `pgbench --no-vacuum --client=1 --transactions=$number --protocol=prepared --file=$file --log --log-prefix=$log 2>&1`;
	$said =~ /^number of failed transactions: 0 /m or $said =~ /actually processed: $number\b/ or die $said;
	foreach my $line (map { split /\n/, Bench::slurp($_) } glob("$log.*"))
	{
		push @latencies, (split ' ', $line)[2];
		next if @latencies < $part;
		push @points, [ $part * (@points + 1), Bench::median(@latencies) ];
		@latencies = ();
	}
	unlink glob("$log.*");
	return \@points;
}

return {
	title => 'A session that commits 100,000 transactions on a mirrored table',
	run => sub {
		my ($bench, $report) = @_;
		my $number = $bench->size(100_000);
		my @lines;

		$bench->start(pg_net => $bench->has('pg_net'), synchronous_commit => 'off');
		my $session = $bench->session;
		my $create = sub {
			my ($table) = @_;
			$session->do("CREATE TABLE $table ($Bench::columns); CREATE SEQUENCE s_$table CACHE 100;
				ALTER TABLE $table ALTER id SET DEFAULT nextval('s_$table')");
		};
		my $measure = sub {
			my ($label, $table, $times, $class, @more) = @_;
			my $points = transactions($bench, $table, $times);
			my ($first, $last) = ($points->[0][1], $points->[-1][1]);
			my $ratio = $last / $first;

			$report->row($label, $ratio, sprintf('first %d µs, last %d µs: %.2f times', $first, $last, $ratio), @more ? ($more[0]->($ratio)) : ());
			push @lines, [ $label, $points, $class ];
		};
		my $target = sub { (target => 'as fast as the first', met => $_[0] <= 1.1) };

		$create->($_) foreach qw(plain items items_paused);
		$bench->mirror($_) foreach qw(items items_paused);
		$measure->('no trigger', 'plain', $number);
		$bench->enable(0);
		$measure->('mixpeek_docs, worker paused', 'items_paused', $number, 'ours', $target);
		$session->do('TRUNCATE mixpeek.outbox');
		$bench->enable(1);
		$measure->('mixpeek_docs, worker at work', 'items', $number, 'ceiling', $target);
		if ($bench->has('pg_net'))
		{
			my $url = $bench->api->url;

			$create->('net');
			$session->do("CREATE EXTENSION pg_net;
				CREATE FUNCTION post_later() RETURNS trigger LANGUAGE plpgsql AS \$\$
				BEGIN
					PERFORM net.http_post(url := '$url/v1/collections/net/documents', body := to_jsonb(NEW),
						headers := '{\"Authorization\": \"Bearer sk_test\"}'::jsonb);
					RETURN NEW;
				END \$\$;
				CREATE TRIGGER post AFTER INSERT ON net FOR EACH ROW EXECUTE FUNCTION post_later()");
			$measure->('pg_net', 'net', $bench->size(20_000), 'other');
		}
		else
		{
			$report->row('pg_net', undef, 'missing: not installed');
		}
		$report->lines(x => 'transactions', y => 'µs a transaction, median of each hundredth part', lines => \@lines);
	},
};
