# Documents a second from committed row to stored id, the server answering as fast as it can, against
# a raw libcurl client that posts the same bodies to the same server. In turns; both have 64 connections,
# and both share the two cores with the server.
package Question::Throughput;
use strict;
use warnings;
use utf8;
use Time::HiRes qw(time);

my $connections = 64;

# What PostgreSQL alone needs for the records of mixpeek.documents: the same columns and indexes, the intent's INSERT
# and the answer's UPDATE, each one statement over all of them. Microseconds of CPU a line.
sub lines_alone
{
	my ($bench, $rows) = @_;
	my $session = $bench->session;

	$session->do('DROP TABLE IF EXISTS done, lines; CREATE TABLE done AS SELECT * FROM mixpeek.documents;
		CREATE TABLE lines (LIKE mixpeek.documents INCLUDING ALL) WITH (autovacuum_enabled = off)');
	my (undef, $intent) = $session->cost("INSERT INTO lines (relation, collection, key, state, attempts, in_doubt,
		server, marker, intent_hash)
		SELECT relation, collection, key, 'sending', 0, true, server, marker, content_hash || content_hash FROM done");
	my (undef, $answer) = $session->cost("UPDATE lines SET document_id = done.document_id, state = done.state,
		in_doubt = false,
		content_hash = done.content_hash, features_hash = done.features_hash, intent_hash = NULL,
		enrichments = done.enrichments,
		mirrored_at = now() FROM done WHERE (lines.relation, lines.collection, lines.key) = (done.relation,
			done.collection, done.key)");
	return ($intent + $answer) * 1e6 / $rows;
}

# One backlog; documents a second, and microseconds of the worker's CPU a document,
# and what lines_alone() says.
sub mirror_backlog
{
	my ($bench, $rows) = @_;
	my $pid = $bench->worker_pid;

	my $cpu = Bench::cpu($pid);
	$bench->session->do("INSERT INTO items @{[ Bench::rows(1, $rows) ]}");
	my $begin = time;
	$bench->wait_for_documents($rows);
	my $seconds = time - $begin;
	$cpu = Bench::cpu($pid) - $cpu;
	my $creates = $bench->api->stats->{creates};
	die "$creates creates for $rows rows" if $creates != $rows;
	my $lines = lines_alone($bench, $rows);
	$bench->clear('items');
	return ($rows / $seconds, $cpu * 1e6 / $rows, $lines);
}

# pg_net with its default settings, and as many as it is told to take at once.
sub pg_net
{
	my ($bench, $report, $rows) = @_;
	my $url = $bench->api->url;

	$bench->session->do("
		CREATE EXTENSION IF NOT EXISTS pg_net;
		SELECT net.http_post(url := '$url/v1/collections/net/documents',
			headers := '{\"Authorization\": \"Bearer sk_test\"}',
			body := jsonb_build_object('collection_id', 'net', 'source_details', '[]'::jsonb, 'metadata',
			jsonb_build_object('i', i)))
		FROM generate_series(1, $rows) i");
	my $begin = time;
	my ($creates, $since, $last) = (0, $begin, $begin);
	while ($creates < $rows && time - $last < 5)
	{
		Time::HiRes::sleep(0.02);
		my $now = $bench->api->stats->{creates};
		$last = time if $now != $creates;
		$creates = $now;
	}
	return ($creates / ($last - $begin), $creates);
}

sub pgsql_http
{
	my ($bench, $rows) = @_;
	my $url = $bench->api->url;
	my $session = $bench->session;

	$session->do("CREATE EXTENSION http; SET http.curlopt_tcp_keepalive = '1'");
	return $rows / $session->seconds("
		SELECT count((http(('POST', '$url/v1/collections/http/documents', ARRAY[http_header('Authorization',
		'Bearer sk_test')],
			'application/json', jsonb_build_object('collection_id', 'http', 'source_details', '[]'::jsonb,
				'metadata', jsonb_build_object('i', i))::text)::http_request)).status)
		FROM generate_series(1, $rows) i");
}

sub peers
{
	my ($bench, $report) = @_;
	my @bars;

	if ($bench->has('pg_net'))
	{
		my $rows = 1_000;
		my ($rate, $creates) = pg_net($bench, $report, $rows);
		$report->row('pg_net, its defaults', $rate, sprintf('%.0f a second, %d of %d arrived', $rate, $creates, $rows));
		push @bars, [ 'pg_net', $rate ];
	}
	if ($bench->has('http'))
	{
		my $rate = pgsql_http($bench, $bench->size(5_000));
		$report->row('pgsql-http, in the transaction', $rate, sprintf('%.0f a second', $rate));
		push @bars, [ 'pgsql-http', $rate ];
	}
	foreach my $peer ([ 'pg_net', 'pg_net' ], [ 'http', 'pgsql-http' ])
	{
		$report->row($peer->[1], undef, 'missing: not installed') unless $bench->has($peer->[0]);
	}
	return @bars;
}

return {
	title => 'Documents a second, from committed row to stored id',
	run => sub {
		my ($bench, $report) = @_;
		my $rows = $bench->size(200_000);
		my (@raw, @raw_cpu, @rate, @cpu, @ratio, @cpu_ratio, @lines, @cpu_bound);

		$bench->start(pg_net => $bench->has('pg_net'));
		$bench->create_mirrored('items');
		$bench->session->do("INSERT INTO items @{[ Bench::rows(1, $bench->size(2_000)) ]}");
		$bench->wait_for_documents($bench->size(2_000));
		my $body = $bench->body_file('items');
		$bench->clear('items');
		foreach my $run (1 .. $bench->runs(7))
		{
			my $raw = $bench->curl_multi(connections => $connections, requests => $rows, body => $body);
			$bench->api->reset;
			my ($rate, $cpu, $lines) = mirror_backlog($bench, $rows);

			push @raw, $raw->{rate};
			push @raw_cpu, $raw->{cpu};
			push @rate, $rate;
			push @cpu, $cpu;
			push @ratio, $rate / $raw->{rate};
			push @cpu_ratio, $cpu / $raw->{cpu};
			push @lines, $lines;
			push @cpu_bound, ($raw->{cpu} + $lines) / $raw->{cpu};
		}
		my ($ratio, $cpu_ratio) = (Bench::median(@ratio), Bench::median(@cpu_ratio));
		$report->row('raw libcurl', Bench::median(@raw), sprintf('%.0f a second, CPU %.1f µs a request',
			Bench::median(@raw), Bench::median(@raw_cpu)));
		$report->row('mixpeek_docs', Bench::median(@rate), sprintf('%.0f a second, CPU %.1f µs a document',
			Bench::median(@rate), Bench::median(@cpu)));
		$report->row('of the ceiling', $ratio, sprintf('%.0f %%', 100 * $ratio), target => 'at least 50 %',
			met => $ratio >= 0.5);
		$report->row("worker's CPU to raw libcurl's", $cpu_ratio, sprintf('%.1f times', $cpu_ratio),
			target => 'at most 2.5 times', met => $cpu_ratio <= 2.5);
		$report->row('the records of mixpeek.documents alone', Bench::median(@lines),
			sprintf('%.1f µs in plain SQL: with raw libcurl %.1f times its CPU', Bench::median(@lines),
				Bench::median(@cpu_bound)));
		$report->bars(unit => 'documents a second', log => 1, target => [ Bench::median(@raw) / 2, 'to reach' ],
			bars => [
			[ 'raw libcurl', Bench::median(@raw), 'ceiling' ], [ 'mixpeek_docs', Bench::median(@rate), 'ours' ],
			peers($bench, $report) ]);
	},
};
