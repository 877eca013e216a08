# A psql that stays: statements of one role, one after another, in one session.
#
#   my $session = MixpeekTest::Session->new($node, 'alice');
#   $session->do('BEGIN');                          # waits for its end; dies where it fails
#   my $rows = $session->do('SELECT ...');
#   my $error = $session->refusal('DROP TABLE x');  # the error's text, '' if there was none
#   $session->send('SELECT pg_sleep(10)');          # does not wait
#   $session->wait;                                 # waits for what was sent; returns what it printed
#   $session->close;
#
package MixpeekTest::Session;
use strict;
use warnings;
use IPC::Run ();
use Time::HiRes qw(time);

# How long a statement may take, in seconds.
our $timeout = 60;

# new(NODE, ROLE, OPTION => VALUE): connects as ROLE, or as the superuser where that is undefined. Options: database,
# settings (what PGOPTIONS has).
sub new
{
	my ($class, $node, $role, %option) = @_;
	my $self = bless { out => '', err => '', in => '', number => 0, waiting => 0 }, $class;
	my @command = ('psql', '-X', '-A', '-t', '-q', '-d', $node->connstr($option{database} // 'postgres'), '-f', '-');

	push @command, '-U', $role if defined $role;
	local $ENV{PGOPTIONS} = $option{settings} // '-c statement_timeout=50s';
	$self->{process} = IPC::Run::start(\@command, '<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err});
	$self->{pid} = $self->do('SELECT pg_backend_pid()');
	return $self;
}

# The server process' number.
sub pid { return $_[0]{pid}; }

sub send
{
	my ($self, $sql) = @_;

	die "a statement is still under way" if $self->{waiting};
	$self->{number}++;
	$self->{waiting} = 1;
	$self->{out} = $self->{err} = '';
	$self->{in} .= "$sql;\n\\echo <end $self->{number}>\n\\warn <end $self->{number}>\n";
	$self->{process}->pump_nb;
	return;
}

# Whether what was sent has ended.
sub done
{
	my ($self) = @_;
	my $end = qr/<end $self->{number}>\n/;

	return 1 unless $self->{waiting};
	eval { $self->{process}->pump_nb };
	return ($self->{out} =~ $end && $self->{err} =~ $end) || !$self->{process}->pumpable;
}

sub finish_statement
{
	my ($self) = @_;
	my $end = time() + $timeout;

	until ($self->done)
	{
		die "psql did not answer within $timeout s" if time() > $end;
		select(undef, undef, undef, 0.002);
	}
	$self->{waiting} = 0;
	s/<end $self->{number}>\n// foreach $self->{out}, $self->{err};
	return;
}

# Waits for what was sent. Returns its output; errors stand in errors().
sub wait
{
	my ($self) = @_;
	my $out;

	$self->finish_statement if $self->{waiting};
	chomp($out = $self->{out});
	return $out;
}

sub errors { return $_[0]{err}; }

sub do
{
	my ($self, $sql) = @_;

	$self->send($sql);
	my $out = $self->wait;
	die "$sql: $self->{err}" if $self->{err} =~ /(?:ERROR|FATAL|PANIC):|connection to server|server closed/;
	return $out;
}

sub refusal
{
	my ($self, $sql) = @_;

	$self->send($sql);
	$self->wait;
	return $self->{err} =~ /(?:ERROR|FATAL|PANIC):\s+(.*)/ ? $1 : $self->{process}->pumpable ? ''
		: 'the session has ended';
}

# Ends the session, whatever it is doing.
sub close
{
	my ($self) = @_;
	my $process = delete $self->{process} or return;

	eval { $process->kill_kill(grace => 1) };
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@);
	$self->close;
	return;
}

1;
