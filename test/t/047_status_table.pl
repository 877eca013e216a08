# What each HTTP status and each broken transfer means: the table in src/remote/status.c, the comment in status.h
# and the table of failures in the documentation say the same. Other tests show what the worker does with it.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;

# The rows of the table: end, range of statuses, verdict and flags.
sub table_rows
{
	my @rows;
	my ($table) = slurp_file('src/remote/status.c') =~ /StatusMeaning meanings\[\] =\n\{\n(.*?)\n\};/s;

	while ($table =~ /\{(HTTP_\w+), (\w+), (\w+), VERDICT_(\w+), (\w+),\s+([^,]+), /g)
	{
		my %row = (end => $1, first => $2, last => $3, verdict => $4, sqlstate => $5);
		$row{flags} = { map { s/^STATUS_//r => 1 } grep { $_ ne '0' } split(/ \| /, $6) };
		push @rows, \%row;
	}
	is(scalar(@rows), scalar(() = $table =~ /VERDICT_/g), 'each row of the table in status.c can be read');
	return @rows;
}

my @rows = table_rows();

sub meaning
{
	my ($status) = @_;
	my $covers = sub { $_[0]->{first} eq 'INT_MIN' || ($_[0]->{first} <= $status && $status <= $_[0]->{last}) };
	my ($row) = grep { $_->{end} eq 'HTTP_ANSWERED' && $covers->($_) } @rows;
	return $row;
}

sub has { return $_[0]->{flags}{ $_[1] } ? 1 : 0; }

# Statuses in ranges as the documentation writes them: "400, 402–404".
sub statuses_in
{
	my ($text) = @_;
	my @statuses;
	push @statuses, $1 .. $2 // $1 while $text =~ /\b(\d{3})(?:–(\d{3}))?\b/g;
	return @statuses;
}

sub statuses_with
{
	my ($test) = @_;
	return [ grep { $test->(meaning($_)) } 200 .. 599 ];
}

# The ends of transfers: each has one row, and each is in the documentation.
my ($enum) = slurp_file('src/remote/http.h') =~ /typedef enum HttpEnd\n\{(.*?)\n\} HttpEnd;/s;
my @ends = $enum =~ /^\t(HTTP_\w+)/mg;
my @broken = grep { $_->{end} ne 'HTTP_ANSWERED' } @rows;
is_deeply([ sort map { $_->{end} } @broken ], [ sort grep { $_ ne 'HTTP_ANSWERED' } @ends ],
	'each way in which a transfer can break has one row');
my %flags_of = map { $_->{end} => join(' ', $_->{verdict}, sort keys %{ $_->{flags} }) } @broken;
is_deeply(\%flags_of, {
		HTTP_NOT_BEGUN => 'UNREACHED OUTAGE',
		HTTP_NOT_SENT => 'UNREACHED OUTAGE',
		HTTP_TLS_FAILED => 'UNREACHED OUTAGE',
		HTTP_NO_SOCKET => 'UNREACHED OURS',
		HTTP_TIMED_OUT => 'UNSURE MAY_CONTINUE OUTAGE',
		HTTP_BROKEN => 'UNSURE MAY_CONTINUE OUTAGE',
		HTTP_TOO_LARGE => 'UNSURE',
		HTTP_NO_ROOM => 'UNSURE MAY_CONTINUE OURS',
		HTTP_OUT_OF_MEMORY => 'UNSURE MAY_CONTINUE' },
	'what each way in which a transfer can break means');

# The comment in status.h.
my $header = slurp_file('src/remote/status.h');
my ($comment, $verdicts) = $header =~
  m{/\*\n( \* The answer to "what now\?".*?)\*/\ntypedef enum Verdict\n\{(.*?)\n\} Verdict;}s;
my @verdicts = $verdicts =~ /^\tVERDICT_(\w+)/mg;
is_deeply([ sort { $a cmp $b } $comment =~ /^ \*\t([A-Z_]{4,})\b/mg ], [ sort @verdicts ],
	'the comment in status.h has a line for each verdict');
my %used = map { $_->{verdict} => 1 } @rows;
is_deeply([ sort keys %used ], [ sort @verdicts ], 'each verdict is in the table in status.c');
my %declared = map { $_ => 1 } $header =~ /^#define STATUS_(\w+)\t/mg;
my %flags = map { %{ $_->{flags} } } @rows;
is_deeply([ sort keys %flags ], [ sort keys %declared ], 'each flag is in the table in status.c');

# The documentation's table of failures.

# What a line of the table says of a status, in the words of status.h.
sub kind_of_line
{
	my ($again, $when) = @_;

	return 'DONE' if $again =~ /^–/;
	return 'REFUSED' if $again =~ /^no/;
	return 'GONE' if $when =~ /^at once: looked up/;
	return 'SLOW_DOWN OUTAGE' if $when =~ /#after-429/;
	return 'UNREACHED OUTAGE' if $when =~ /^the server is \[down\]/;
	return $again =~ /five in a row/ ? 'UNSURE OUTAGE' : 'UNSURE';
}

my ($table) = slurp_file('docs/operations.md') =~ /^(\| 200–299 .*?)\n\n/ms;
my %line_of;
foreach my $line (split(/\n/, $table))
{
	my (undef, $what, $again, $when) = split(/ ?\| /, $line);

	if ($what =~ /^look-up refused with (.*)/)
	{
		is_deeply(statuses_with(sub { has($_[0], 'NO_FILTER') }), [ statuses_in($1) ],
			'the statuses that say that a look-up cannot be answered');
	}
	next if $what !~ /^\d{3}/ || $what =~ /^404 to a create/;
	if ($when =~ /\((\d{3}): no rest\)/)
	{
		my $except = $1;
		is_deeply(statuses_with(sub { has($_[0], 'MAY_CONTINUE') }), [ grep { $_ != $except } statuses_in($what) ],
			'the statuses after which the server may still be at work');
	}
	$line_of{$_} = kind_of_line($again, $when) foreach statuses_in($what);
}
my %expected = map {
	my $row = meaning($_);
	my $verdict = $row->{verdict} eq 'UNAUTHORIZED' ? 'UNREACHED' : $row->{verdict};
	$_ => $verdict . (has($row, 'OUTAGE') ? ' OUTAGE' : '');
} 200 .. 599;
is_deeply(\%line_of, \%expected, 'the documentation says of each status what the table in status.c says');

# What the documentation's table does not say.
is_deeply(statuses_with(sub { has($_[0], 'OVERLOAD') }), [ 429, 503 ],
	'the statuses after which fewer requests are sent at once');
is_deeply(statuses_with(sub { has($_[0], 'HOLDS_OTHERS') }), [ 300 .. 399, 401, 429, 500 .. 599 ],
	'the statuses after which waiting requests are not sent');

done_testing();
