# Documents a second where the server answers after 50 ms: what so many connections can carry is
# connections / latency, and the question is how much of that is used.
package Question::Delay;
use strict;
use warnings;
use utf8;
use Time::HiRes qw(time);

my $latency = 0.05;
my $seconds = 10;

return {
	title => 'Documents a second, the server answering after 50 ms',
	run => sub {
		my ($bench, $report) = @_;
		my @bars;

		$bench->start;
		$bench->create_mirrored('items');
		foreach my $connections (16, 64)
		{
			my $possible = $connections / $latency;
			my $rows = $bench->size($possible * $seconds);
			my @rates;
			my @raw;

			$bench->create_server($connections);
			$bench->session->do("INSERT INTO items @{[ Bench::rows(1, $connections) ]}");
			$bench->wait_for_documents($connections);
			my $body = $bench->body_file('items');
			$bench->clear('items');
			$bench->api->config(latency => $latency * 1000);
			foreach my $run (1 .. $bench->runs(2))
			{
				push @raw, $bench->curl_multi(connections => $connections, requests => $rows, body => $body)->{rate};
				$bench->api->reset;
				$bench->session->do("INSERT INTO items @{[ Bench::rows(1, $rows) ]}");
				my $begin = time;
				$bench->wait_for_documents($rows);
				push @rates, $rows / (time - $begin);
				$bench->clear('items');
			}
			$bench->api->config(latency => 0);
			my ($rate, $raw) = (Bench::median(@rates), Bench::median(@raw));
			my $part = $rate / $possible;
			$report->row("$connections connections, raw libcurl", $raw,
				sprintf('%.0f a second, %.1f %% of connections / latency', $raw, 100 * $raw / $possible));
			$report->row("$connections connections, mixpeek_docs", $rate,
				sprintf('%.0f a second, %.1f %% of connections / latency', $rate, 100 * $part),
				target => 'at least 95 %', met => $part >= 0.95);
			push @bars, [ "$connections connections, possible", $possible ],
				[ "$connections connections, raw libcurl", $raw, 'ceiling' ],
				[ "$connections connections, mixpeek_docs", $rate, 'ours' ];
		}
		$report->bars(unit => 'documents a second', bars => \@bars);
	},
};
