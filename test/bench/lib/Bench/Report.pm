# What the questions found: one table (as text, Markdown and JSON), one picture a question (SVG).
#
#   $report->question('writer', 'What a mirrored table costs its writer');
#   $report->row('mixpeek_docs', 1.9, '+1.90 us a row', target => 'at most +1.2', met => 0);
#   $report->bars(unit => 'us a row', bars => [ [ 'mixpeek_docs', 1.9, 'ours' ], ... ]);
#   $report->lines(x => 'documents', y => 'MB', lines => [ [ 'RssAnon', [ [ 0, 12 ], ... ] ] ]);
package Bench::Report;
use strict;
use warnings;
use utf8;
use Encode qw(decode_utf8);
use JSON::PP ();
use POSIX ();

# MACHINE is a list of names and texts.
sub new
{
	my ($class, $directory, $machine) = @_;
	mkdir $directory;
	return bless { directory => $directory, machine => $machine, questions => [] }, $class;
}

sub question
{
	my ($self, $name, $title) = @_;
	push @{ $self->{questions} }, { name => $name, title => $title, rows => [], notes => [] };
	return;
}

# A line of the table: what was measured, the number, how it reads; target and met where there is one.
sub row
{
	my ($self, $what, $value, $text, %more) = @_;
	my $row = { what => $what, value => defined $value ? 0 + $value : undef, text => $text,
		target => $more{target}, met => exists $more{met} ? ($more{met} ? 'yes' : 'no') : undef };

	push @{ $self->current->{rows} }, $row;
	printf STDERR "          %s: %s%s\n", map { encode($_) } $what, $text,
		defined $row->{met} ? " (target: $row->{target}: $row->{met})" : '';
	return;
}

# A sentence that goes with the question.
sub note
{
	my ($self, $text) = @_;
	push @{ $self->current->{notes} }, $text;
	return;
}

# What could not be measured, and why; the other questions go on.
sub failed
{
	my ($self, $why) = @_;

	print STDERR $why;
	$self->row('could not be measured', undef, ($why =~ /^(.*)/)[0] // '');
	return 1;
}

sub seconds { $_[0]->current->{seconds} = int($_[1] + 0.5); return }
sub current { return $_[0]{questions}[-1] }

sub finish
{
	my ($self, $seconds) = @_;

	print encode($self->as_text);
	$self->{seconds} = int($seconds + 0.5);
	$self->write('results.md', $self->as_markdown);
	$self->write('results.json', JSON::PP->new->pretty->canonical->encode(
		{ machine => { @{ $self->{machine} } }, seconds => $self->{seconds}, questions => $self->{questions} }));
	return;
}

sub write
{
	my ($self, $name, $text) = @_;
	open(my $out, '>:encoding(UTF-8)', "$self->{directory}/$name") or die "$name: $!";
	print $out $text;
	close $out;
	return;
}

sub encode { my ($text) = @_; utf8::encode($text); return $text }

#
# The table
#

my @heads = ('question', 'measured', 'result', 'to reach', 'met');

sub lines_of
{
	my ($self) = @_;
	my @lines;

	foreach my $question (@{ $self->{questions} })
	{
		my $title = $question->{title};
		foreach my $row (@{ $question->{rows} })
		{
			push @lines, [ $title, $row->{what}, $row->{text}, $row->{target} // '', $row->{met} // '' ];
			$title = '';
		}
	}
	return @lines;
}

sub machine_lines
{
	my ($self) = @_;
	my @pairs = @{ $self->{machine} };
	my @lines;

	push @lines, [ splice(@pairs, 0, 2) ] while @pairs;
	return @lines;
}

sub as_text
{
	my ($self) = @_;
	my @lines = ([@heads], $self->lines_of);
	my @width = (0) x @heads;

	foreach my $line (@lines)
	{
		foreach my $i (1 .. $#heads)
		{
			$width[$i] = length $line->[$i] if length $line->[$i] > $width[$i];
		}
	}
	my $text = join('', map { sprintf("%-10s %s\n", @$_) } $self->machine_lines) . "\n";
	foreach my $line (@lines)
	{
		my ($title, @cells) = @$line;

		$text .= "$title\n" if $title ne '' && $title ne $heads[0];
		$text .= '  ' . join('  ', map { sprintf("%-*s", $width[ $_ + 1 ], $cells[$_]) } 0 .. $#cells) =~ s/\s+$//r
			. "\n";
	}
	return $text;
}

sub as_markdown
{
	my ($self) = @_;
	my $text = join('', map { "- $_->[0]: $_->[1]\n" } $self->machine_lines);

	$text .= "\n| " . join(' | ', @heads) . " |\n|" . '---|' x @heads . "\n";
	$text .= '| ' . join(' | ', map { s/\|/\\|/gr } @$_) . " |\n" foreach $self->lines_of;
	foreach my $question (@{ $self->{questions} })
	{
		$text .= "\n$question->{title}: $_\n" foreach @{ $question->{notes} };
	}
	return $text;
}

#
# The pictures
#

my $style = <<'END';
<style>
  .page { fill: #ffffff; } text { fill: #24292f; font: 13px system-ui, sans-serif; }
  .title { font-size: 15px; font-weight: 600; } .small { font-size: 11px; fill: #57606a; }
  .grid { stroke: #d0d7de; stroke-width: 1; } .bar { fill: #8c959f; } .ours { fill: #0969da; }
  .ceiling { fill: #1a7f37; }
  .other { fill: #bc4c00; } .path.other { fill: none; stroke: #bc4c00; }
  .target { stroke: #cf222e; stroke-width: 2; stroke-dasharray: 5 3; }
  .path { fill: none; stroke-width: 2; stroke: #8c959f; }
  .path.ours { fill: none; stroke: #0969da; } .path.ceiling { fill: none; stroke: #1a7f37; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } text { fill: #e6edf3; } .small { fill: #9198a1; } .grid { stroke: #3d444d; }
    .bar { fill: #6e7681; } .ours { fill: #4493f8; } .ceiling { fill: #3fb950; } .target { stroke: #f85149; }
    .other { fill: #db6d28; } .path.other { stroke: #db6d28; }
    .path { stroke: #6e7681; } .path.ours { stroke: #4493f8; } .path.ceiling { stroke: #3fb950; }
  }
</style>
END

sub escape { return $_[0] =~ s/&/&amp;/gr =~ s/</&lt;/gr =~ s/>/&gt;/gr }

# A number as short as it stays true: 12,300, 4.9, 0.31
sub short
{
	my ($value) = @_;
	my $digits = abs $value >= 100 || $value == int $value ? 0 : abs $value >= 1 ? 1 : 2;
	my $text = sprintf('%.*f', $digits, $value);
	1 while $text =~ s/^(-?\d+)(\d{3})/$1,$2/;
	return $text;
}

# Marks of an axis from low to high: powers of ten, or round steps.
sub ticks
{
	my ($low, $high, $log) = @_;

	return map { 10**$_ } POSIX::ceil(log10($low)) .. POSIX::floor(log10($high)) if $log;
	my $step = 10**POSIX::floor(log10(($high - $low) / 4 || 1));
	$step *= ($high - $low) / $step > 20 ? 5 : ($high - $low) / $step > 8 ? 2 : 1;
	my @ticks;
	for (my $t = POSIX::ceil($low / $step) * $step; $t <= $high * 1.0001; $t += $step)
	{
		push @ticks, $t;
	}
	return @ticks;
}

sub log10 { return log($_[0]) / log(10) }

# Where a value lies between low and high, from 0 to 1.
sub place
{
	my ($value, $low, $high, $log) = @_;

	$value = $low if $value < $low;
	return log($value / $low) / log($high / $low) if $log;
	return ($value - $low) / ($high - $low);
}

sub svg
{
	my ($self, $height, $unit, $body) = @_;
	my $title = escape($self->current->{title});
	my $where = escape(join(', ', map { $_->[1] }
		grep { $_->[0] =~ /^(processor|versions|date)$/ } $self->machine_lines));

	return qq{<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 $height"}
		. qq{ width="760" height="$height" role="img">\n}
		. "<title>$title</title>\n$style"
		. qq{<rect class="page" width="760" height="$height"/>\n}
		. qq{<text class="title" x="16"}
		. qq{ y="26">$title</text>\n<text class="small" x="16" y="44">@{[ escape($unit) ]}</text>\n}
		. $body . qq{<text class="small" x="16" y="@{[ $height - 10 ]}">$where</text>\n</svg>\n};
}

# bars(unit => TEXT, log => 0|1, target => [VALUE, TEXT], bars => [[LABEL, VALUE, CLASS], ...]); class
# is "ours", "ceiling", "other" or nothing. A name other than the question's may be given as name.
sub bars
{
	my ($self, %picture) = @_;
	my @bars = grep { defined $_->[1] } @{ $picture{bars} };
	my @values = sort { $a <=> $b } map { $_->[1] } @bars;
	my ($left, $width, $top, $pitch) = (270, 400, 58, 27);
	my $bottom = $top + $pitch * @bars;
	my $high = $values[-1] * 1.02 || 1;
	my $low = 0;
	my $body = '';

	return unless @bars;
	if ($picture{log})
	{
		my ($least) = grep { $_ > 0 } @values;
		$low = 10**POSIX::floor(log10($least // 1) - 0.3);
		$high = $low * 10 if $high <= $low;
	}
	foreach my $tick (ticks($low, $high, $picture{log}))
	{
		my $x = sprintf('%.1f', $left + $width * place($tick, $low, $high, $picture{log}));
		$body .= qq{<line class="grid" x1="$x" y1="$top" x2="$x" y2="$bottom"/>\n}
			. qq{<text class="small" x="$x" y="@{[ $bottom + 15 ]}" text-anchor="middle">@{[ short($tick) ]}</text>\n};
	}
	foreach my $i (0 .. $#bars)
	{
		my ($label, $value, $class) = @{ $bars[$i] };
		my $y = $top + $pitch * $i;
		my $length = sprintf('%.1f', $width * place($value, $low, $high, $picture{log}));
		my $end = sprintf('%.1f', $left + ($length < 0 ? 0 : $length) + 6);
		$length = 1 if $length < 1;

		$body .= qq{<text x="@{[ $left - 8 ]}" y="@{[ $y + 18 ]}" text-anchor="end">@{[ escape($label) ]}</text>\n}
			. qq{<rect class="bar @{[ $class // '' ]}" x="$left" y="@{[ $y + 4 ]}"}
			. qq{ width="$length" height="@{[ $pitch - 8 ]}" rx="2"/>\n}
			. qq{<text x="$end" y="@{[ $y + 18 ]}">@{[ short($value) ]}</text>\n};
	}
	if ($picture{target})
	{
		my ($value, $text) = @{ $picture{target} };
		my $x = sprintf('%.1f', $left + $width * place($value, $low, $high, $picture{log}));
		if ($value <= $high)
		{
			$body .= qq{<line class="target" x1="$x" y1="@{[ $top - 4 ]}" x2="$x" y2="$bottom"/>\n}
				. qq{<text class="small" x="@{[ $x + 4 ]}" y="@{[ $top - 6 ]}">@{[ escape($text) ]}</text>\n};
		}
	}
	$self->write(($picture{name} // $self->current->{name}) . '.svg',
		$self->svg($bottom + 40, $picture{unit} . ($picture{log} ? ' (logarithmic)' : ''), $body));
	return;
}

# lines(x => TEXT, y => TEXT, target => [VALUE, TEXT], lines => [[LABEL, [[X, Y], ...], CLASS], ...])
sub lines
{
	my ($self, %picture) = @_;
	my ($left, $width, $top, $height) = (70, 660, 90, 220);
	my $legend = $left;
	my @points = map { @{ $_->[1] } } @{ $picture{lines} };
	my ($right) = sort { $b <=> $a } map { $_->[0] } @points;
	my ($high) = sort { $b <=> $a } map { $_->[1] } @points, $picture{target} ? [ 0, $picture{target}[0] ] : ();
	my $body = '';
	my $x = sub { sprintf('%.1f', $left + $width * $_[0] / ($right || 1)) };
	my $y = sub { sprintf('%.1f', $top + $height * (1 - $_[0] / ($high * 1.05 || 1))) };

	foreach my $tick (ticks(0, $high))
	{
		$body .= qq{<line class="grid" x1="$left" y1="@{[ $y->($tick) ]}"}
			. qq{ x2="@{[ $left + $width ]}" y2="@{[ $y->($tick) ]}"/>\n}
			. qq{<text class="small" x="@{[ $left - 6 ]}" y="@{[ $y->($tick) + 4 ]}"}
			. qq{ text-anchor="end">@{[ short($tick) ]}</text>\n};
	}
	foreach my $tick (ticks(0, $right))
	{
		$body .= qq{<text class="small" x="@{[ $x->($tick) ]}" y="@{[ $top + $height + 16 ]}"}
			. qq{ text-anchor="middle">@{[ short($tick) ]}</text>\n};
	}
	$body .= qq{<text class="small" x="@{[ $left + $width ]}" y="@{[ $top + $height + 32 ]}"}
		. qq{ text-anchor="end">@{[ escape($picture{x}) ]}</text>\n};
	if ($picture{target})
	{
		my $at = $y->($picture{target}[0]);
		$body .= qq{<line class="target" x1="$left" y1="$at" x2="@{[ $left + $width ]}" y2="$at"/>\n}
			. qq{<text class="small" x="@{[ $left + 6 ]}"}
			. qq{ y="@{[ $at - 5 ]}">@{[ escape($picture{target}[1]) ]}</text>\n};
	}
	foreach my $line (@{ $picture{lines} })
	{
		my ($label, $of, $class) = @$line;

		$body .= qq{<polyline class="path @{[ $class // '' ]}"}
			. qq{ points="@{[ join(' ', map { $x->($_->[0]) . ',' . $y->($_->[1]) } @$of) ]}"/>\n}
			. qq{<rect class="bar @{[ $class // '' ]}" x="$legend" y="59" width="10" height="10" rx="2"/>\n}
			. qq{<text x="@{[ $legend + 15 ]}" y="69">@{[ escape($label) ]}</text>\n};
		$legend += 40 + 7 * length $label;
	}
	$self->write(($picture{name} // $self->current->{name}) . '.svg',
		$self->svg($top + $height + 60, $picture{y}, $body));
	return;
}

1;
