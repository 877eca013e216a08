# The local Mixpeek server (test/api), as a child process.
package Bench::Api;
use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP qw(decode_json encode_json);
use Time::HiRes qw(sleep);

# new(WORK, OPTION...): started with these options of mixpeek_server.
sub new
{
	my ($class, $work, @options) = @_;
	my $file = "$work/api.port";

	unlink $file;
	my $pid = fork // die $!;
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>', "$work/api.log");
		open(STDERR, '>&', \*STDOUT);
		exec('test/api/mixpeek_server', '--port-file', $file, @options) or POSIX::_exit(1);
	}
	for (1 .. 200)
	{
		last if -s $file;
		sleep(0.05);
	}
	my $port = Bench::slurp($file);
	die 'the local Mixpeek server did not start: ' . Bench::slurp("$work/api.log") unless $port;
	return bless { pid => $pid, port => $port + 0 }, $class;
}

sub pid { return $_[0]{pid} }
sub url { return "http://127.0.0.1:$_[0]{port}" }

# One control request; the answer, decoded.
sub control
{
	my ($self, $method, $path, $body) = @_;
	my $content = $body ? encode_json($body) : '';
	my $length = length $content;
	my $socket = $self->{socket} //= IO::Socket::INET->new(PeerAddr => "127.0.0.1:$self->{port}") // die $!;

	print $socket "$method /_control/$path HTTP/1.1\r\nHost: localhost\r\nContent-Length: $length\r\n\r\n$content";
	my $left;
	while (defined(my $line = <$socket>))
	{
		$left = $1 if $line =~ /^Content-Length: (\d+)/i;
		last if $line eq "\r\n";
	}
	read($socket, my $answer, $left) == $left or die 'the local Mixpeek server gave half an answer';
	return decode_json($answer);
}

sub stats { return $_[0]->control('GET', 'stats') }
sub config { my ($self, %config) = @_; return $self->control('POST', 'config', \%config) }
sub reset { return $_[0]->control('POST', 'reset', { documents => JSON::PP::true }) }

sub stop
{
	my ($self) = @_;
	kill 'TERM', $self->{pid};
	waitpid($self->{pid}, 0);
	return;
}

1;
