# A session: psql at the other end of two pipes.
package Bench::Session;
use strict;
use warnings;
use IPC::Open3;
use Symbol qw(gensym);
use Time::HiRes qw(time);

my $end = '-- end of the answer --';

sub new
{
	my ($class, $work) = @_;
	my $log = "$work/psql.log";
	my $self = bless { log => $log }, $class;

	open(my $errors, '>', $log) or die "$log: $!";
	$self->{pid} = open3($self->{in}, $self->{out}, '>&' . fileno($errors),
		qw(psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1));
	close $errors;
	binmode($self->{$_}, ':encoding(UTF-8)') foreach qw(in out);
	$self->{in}->autoflush(1);
	return $self;
}

# Runs SQL; returns what it answers, a line a row and columns divided by |.
sub do
{
	my ($self, $sql) = @_;
	my @lines;

	print { $self->{in} } "$sql\n;\n\\echo $end\n";
	while (defined(my $line = readline($self->{out})))
	{
		chomp $line;
		return @lines if $line eq $end;
		push @lines, $line;
	}
	die "failed: $sql\n" . Bench::slurp($self->{log});
}

# The first column of the first row.
sub value
{
	my ($self, $sql) = @_;
	return ($self->do($sql))[0];
}

# Runs SQL, and says how long it took.
sub seconds
{
	my ($self, $sql) = @_;
	my $begin = time;

	$self->do($sql);
	return time - $begin;
}

sub pid
{
	my ($self) = @_;
	return $self->{backend} //= $self->value('SELECT pg_backend_pid()');
}

# Seconds of wall clock and of the backend's CPU.
sub cost
{
	my ($self, $sql) = @_;
	my $pid = $self->pid;
	my $before = Bench::cpu($pid);
	my $seconds = $self->seconds($sql);

	return ($seconds, Bench::cpu($pid) - $before);
}

sub DESTROY
{
	my ($self) = @_;
	close $self->{in} if $self->{in};
	close $self->{out} if $self->{out};
	local $?;
	waitpid($self->{pid}, 0) if $self->{pid};
	return;
}

1;
