# What a backlog that stands costs others: 2,000,000 keys of a server that is down wait in the outbox, and rows of
# another server are inserted one by one. The time from COMMIT to the stored id is taken as in latency.pl, without
# the backlog, with it, while it is first walked through after a restart of the worker, and with as many documents
# of that server whose time to be asked for has come.
package Question::Standing;
use strict;
use warnings;
use utf8;

my $next = 1;

sub measure
{
	my ($session, $rows) = @_;

	$session->do('TRUNCATE latencies');
	$session->do("CALL measure($next, @{[ $next + $rows - 1 ]})");
	$next += $rows;
	return map { $_ / 1000 } $session->do('SELECT us FROM latencies');
}

return {
	title => 'What 2,000,000 keys of a dead server cost the rows of another',
	run => sub {
		my ($bench, $report) = @_;
		my ($keys, $rows) = ($bench->size(2_000_000), $bench->size(300));
		my $show = sub {
			my ($what, $base, @latencies) = @_;
			my ($median, $max) = (Bench::median(@latencies), Bench::quantile(1, @latencies));
			my $over = $median - $base;

			$report->row($what, $median, sprintf('median %.2f ms, longest %.2f ms', $median, $max),
				$base ? (target => 'at most +20 ms', met => $over <= 20) : ());
			return $median;
		};

		$bench->start;
		$bench->create_mirrored('items');
		my $session = $bench->session;
		$session->do($Bench::measure_latency);
		$session->do(q{CREATE SERVER dead FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url 'http://127.0.0.1:9',
			namespace 'default');
			CREATE USER MAPPING FOR CURRENT_USER SERVER dead OPTIONS (api_key 'sk_dead');
			CREATE TABLE waiting (id bigint PRIMARY KEY);
			CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON waiting
				FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('dead', 'server=dead')});
		measure($session, 20);
		my $base = $show->('none', 0, measure($session, $rows));
		$session->do("INSERT INTO waiting SELECT generate_series(1, $keys)");
		$show->("just after $keys", $base, measure($session, $rows));
		$show->('while they stand', $base, measure($session, $rows));
		$session->do(q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
			WHERE backend_type = 'mixpeek_docs worker'});
		measure($session, 1);	# until there is another
		$show->('after a restart of the worker', $base, measure($session, $rows));
		$session->do(qq{TRUNCATE mixpeek.outbox;
			INSERT INTO mixpeek.documents (relation, collection, key, document_id, state, next_attempt_at, server,
				marker)
				SELECT 'waiting'::regclass, 'dead', (-i)::text, 'd' || i, 'mirrored', now() - i * interval '1 ms',
				'dead', 'x' || i
				FROM generate_series(1, $keys) i});
		$session->do('ALTER SERVER dead OPTIONS (ADD connect_timeout \'1\')');
		$show->("with $keys documents to be asked for", $base, measure($session, $rows));
	},
};
