# Whether a session that commits many transactions on a mirrored table stays as fast as it was. The machine is not
# as fast at the end as it was at the beginning, without any trigger: so at the end the old session and new ones
# take turns. A new one's very first thousand pays for its caches, with or without a trigger; it is its second that
# counts.
package Question::Session;
use strict;
use warnings;
use utf8;
use POSIX ();

# Microseconds each of a thousand transactions.
sub thousand
{
	my ($session, $table) = @_;

	return $session->seconds("INSERT INTO $table (section_id, name, section, price, stock, active, description,
		updated_at) "
		. "VALUES (1, 'Product', 'libs', 12.5, 42, true, 'A product of the benchmark', now());\n" x 1000) * 1000;
}

# A session's thousands, as points, and how long its last ones take, and the second ones of new sessions.
sub old_and_new
{
	my ($bench, $table, $number) = @_;
	my $old = $bench->new_session;
	$old->do('SELECT');
	my @points = map { [ 1000 * $_, thousand($old, $table) ] } 1 .. POSIX::ceil($number / 1000);
	my (@old, @new);

	foreach my $turn (1 .. $bench->runs(9))
	{
		my $session = $bench->new_session;
		thousand($session, $table);	# it is connected, and has seen what the other one has
		push @new, thousand($session, $table);
		push @old, thousand($old, $table);
	}
	return (\@points, Bench::median(@old), Bench::median(@new));
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
			my ($points, $old, $new) = old_and_new($bench, $table, $times);
			my $ratio = $old / $new;

			$report->row($label, $ratio, sprintf('new sessions %.0f µs, after %d transactions %.0f µs: %.2f times',
				$new, $times, $old, $ratio),
				@more ? ($more[0]->($ratio)) : ());
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
		$report->lines(x => 'transactions', y => 'µs a transaction, of each thousand', lines => \@lines);
	},
};
