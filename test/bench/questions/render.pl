# What rendering a document costs: a template of 20 columns against to_jsonb(row)::text. Both are
# called from SQL for every row of the same table, with the row as a record, and only the length of the
# text is used; what the scan and the record cost without them is taken off. The template is rendered by
# the extension's own source, compiled once more into test/bench/mixpeek_bench.so.
package Question::Render;
use strict;
use warnings;
use utf8;

my @types = qw(bigint integer smallint text text text varchar uuid boolean boolean
	numeric(12,2) numeric(12,2) float8 real date timestamptz timestamp text integer bigint);
my @values = ('i', 'i % 1000', '(i % 100)::smallint', "'Product ' || i", "'libs'",
	"repeat('text with \"quotes\" ', 10)",
	"'Street ' || i", "md5(i::text)::uuid", 'i % 2 = 0', 'i % 7 = 0', 'i / 100.0', 'i * 3.5', 'sqrt(i)',
	'(i / 8.0)::real',
	"'2026-01-01'::date + i % 365", "'2026-01-01'::timestamptz + i * interval '1 s'",
		"'2026-01-01'::timestamp + i * interval '1 s'",
	'md5(i::text)', '-i', 'i * 1000000::bigint');

return {
	title => 'Rendering a document from a template of 20 columns',
	run => sub {
		my ($bench, $report) = @_;
		my $rows = $bench->size(100_000);
		my $columns = join(', ', map { "c$_ $types[$_]" } 0 .. $#types);
		my $template = '{"metadata": {' . join(', ', map { qq{"c$_": "\$c$_"} } 0 .. $#types) . '}}';
		my %query = (
			nothing => 'SELECT sum(bench_length(w)) FROM wide w',
			to_jsonb => 'SELECT sum(length(to_jsonb(w)::text)) FROM wide w',
			template => "SELECT sum(bench_render(w, '$template')) FROM wide w",
		);
		my %seconds;

		$bench->start(max_parallel_workers_per_gather => 0, jit => 'off');
		my $session = $bench->session;
		$session->do("CREATE TABLE wide ($columns)");
		$session->do('INSERT INTO wide SELECT ' . join(', ', @values) . " FROM generate_series(1, $rows) i");
		$session->do('VACUUM (ANALYZE, FREEZE) wide');
		$session->do("CREATE FUNCTION bench_render(record, jsonb) RETURNS integer AS '\$libdir/mixpeek_bench'
			LANGUAGE C STABLE;
			CREATE FUNCTION bench_length(record) RETURNS integer AS '\$libdir/mixpeek_bench' LANGUAGE C STABLE");
		foreach my $run (0 .. $bench->runs(9))
		{
			my %once;

			$once{$_} = ($session->cost($query{$_}))[1] * 1e6 / $rows foreach sort keys %query;
			next if $run == 0;
			push @{ $seconds{$_} }, $once{$_} - $once{nothing} foreach qw(to_jsonb template);
			push @{ $seconds{ratio} }, ($once{template} - $once{nothing}) / ($once{to_jsonb} - $once{nothing});
		}
		my ($jsonb, $ours, $ratio) = map { Bench::median(@{ $seconds{$_} }) } qw(to_jsonb template ratio);
		$report->row('to_jsonb(row)::text', $jsonb, sprintf('%.2f µs a row', $jsonb));
		$report->row('template', $ours, sprintf('%.2f µs a row', $ours));
		$report->row('template to to_jsonb(row)::text', $ratio, sprintf('%.2f times', $ratio),
			target => 'at most 2 times', met => $ratio <= 2);
		$report->bars(unit => 'µs of CPU a row', target => [ 2 * $jsonb, 'to reach' ],
			bars => [ [ 'to_jsonb(row)::text', $jsonb ], [ 'template', $ours, 'ours' ] ]);
	},
};
