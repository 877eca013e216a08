# What the project's TAP tests share: PostgreSQL nodes with the extension, Mixpeek servers of the
# tests' own (test/api, see its README), certificates.
#
#   use MixpeekTest;
#
#   my $api  = MixpeekTest::Server->new(contract => '2026-02', enrich => 'later:1');
#   my $node = mixpeek_node('main', "log_min_messages = debug5");
#   create_server($node, 'mixpeek', $api);
#   ...
#   wait_for('the create', sub { $api->stats->{creates} == 1 });
#   $api->stop;
#
package MixpeekTest;
use strict;
use warnings;
use Exporter qw(import);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(mixpeek_node create_server wait_for unused_port make_certificates documentation);

# How long a condition is waited for, in seconds.
our $timeout = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;

# mixpeek_node(NAME, CONF): a running node whose database postgres has the extension. CONF, if
# given, is appended to postgresql.conf.
sub mixpeek_node
{
	my ($name, $conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$node->append_conf('postgresql.conf', "$conf\n") if defined $conf;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION mixpeek_docs');
	return $node;
}

# create_server(NODE, NAME, API, OPTION => VALUE...): a foreign server for API, which is a
# MixpeekTest::Server or a URL, and a mapping of the superuser. Options are those of the server,
# and api_key and database (postgres).
sub create_server
{
	my ($node, $name, $api, %options) = @_;
	my $key = delete $options{api_key} // (ref $api ? $api->api_key : 'sk_test');
	my $database = delete $options{database} // 'postgres';

	$options{base_url} //= ref $api ? $api->url : $api;
	$options{namespace} //= 'test';
	my $list = join(', ', map { "$_ " . quote($options{$_}) } sort keys %options);
	$node->safe_psql($database, qq{
		CREATE SERVER "$name" FOREIGN DATA WRAPPER mixpeek_docs OPTIONS ($list);
		CREATE USER MAPPING FOR CURRENT_USER SERVER "$name" OPTIONS (api_key @{[ quote($key) ]});
	});
	return;
}

# A text as an SQL literal.
sub quote
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

# wait_for(WHAT, CONDITION): until CONDITION, a function, returns something true, which is
# returned. Dies when that does not happen in time.
sub wait_for
{
	my ($what, $condition) = @_;
	my $end = time() + $timeout;

	while (time() < $end)
	{
		my $result = $condition->();
		return $result if $result;
		sleep(0.02);
	}
	die "timed out waiting for $what";
}

# A port of 127.0.0.1 on which no process listens.
sub unused_port
{
	require IO::Socket::INET;
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp', Listen => 1)
	  or die "no port: $!";
	return $socket->sockport;
}

# The project's documentation, in one text: what it says is tested in places.
sub documentation
{
	return join("\n", map { PostgreSQL::Test::Utils::slurp_file($_) } 'README.md', sort glob('docs/*.md'));
}

# make_certificates(NAME => SUBJECT_ALT_NAME...): makes an authority, and certificates that it
# signed, in a temporary directory. Returns their files: { ca => FILE, NAME => { cert => FILE,
# key => FILE } }.
sub make_certificates
{
	my (%names) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my %files = (ca => "$dir/ca.crt");
	my @request = (qw(openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes));

	openssl(@request, '-x509', '-days', 2, '-subj', '/CN=test authority',
		'-keyout', "$dir/ca.key", '-out', $files{ca});
	foreach my $name (sort keys %names)
	{
		my %file = map { $_ => "$dir/$name.$_" } qw(cert key csr ext);

		append_to_file($file{ext}, "subjectAltName = $names{$name}\n");
		openssl(@request, '-subj', "/CN=$name", '-keyout', $file{key}, '-out', $file{csr});
		openssl(qw(openssl x509 -req -days 2 -CAcreateserial), '-in', $file{csr}, '-extfile', $file{ext},
			'-CA', $files{ca}, '-CAkey', "$dir/ca.key", '-out', $file{cert});
		$files{$name} = { cert => $file{cert}, key => $file{key} };
	}
	return \%files;
}

sub openssl
{
	my @command = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '>', \$out, '2>', \$err) or die "@command: $err";
	return;
}

# A Mixpeek API on a port of 127.0.0.1 of its own. It ends with the test at the latest.
package MixpeekTest::Server;
use strict;
use warnings;
use File::Basename qw(dirname);
use File::Spec;
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP;

my $program = File::Spec->rel2abs(dirname(__FILE__) . '/../api/mixpeek_server');

# MixpeekTest::Server->new(OPTION => VALUE...): starts a server and returns when it listens. The
# options are mixpeek_server's, with underscores (contract, api_key, namespace, rate, enrich, ...);
# a list's elements are given one by one, and switches (record) are on if true.
sub new
{
	my ($class, %options) = @_;
	my $self = bless {
		api_key => 'sk_test',
		options => { port => 0, %options },
		scheme => $options{tls_cert} ? 'https' : 'http',
		dir => PostgreSQL::Test::Utils::tempdir(),
	}, $class;
	my ($key) = ref $options{api_key} ? @{ $options{api_key} } : $options{api_key};

	$self->{api_key} = $key if defined $key;
	$self->start;
	return $self;
}

# Starts it, again on the same port if it has had one.
sub start
{
	my ($self) = @_;
	my $file = "$self->{dir}/port";

	unlink($file);
	$self->{output} = '';
	$self->{process} = IPC::Run::start([ $program, $self->arguments, '--port-file', $file ],
		'<', \undef, '>&', \$self->{output});
	MixpeekTest::wait_for(
		'the API server to listen',
		sub {
			$self->{process}->pump_nb;
			die "mixpeek_server has ended: $self->{output}" unless $self->{process}->pumpable;
			return -e $file;
		});
	$self->{options}{port} = PostgreSQL::Test::Utils::slurp_file($file) + 0;
	return;
}

sub arguments
{
	my ($self) = @_;
	my @arguments;

	foreach my $option (sort keys %{ $self->{options} })
	{
		my $value = $self->{options}{$option};
		my $name = '--' . ($option =~ tr/_/-/r);

		if ($option eq 'record')
		{
			push @arguments, $name if $value;
			next;
		}
		push @arguments, map { ($name, $_) } ref $value ? @$value : $value;
	}
	return @arguments;
}

sub port { return $_[0]{options}{port}; }
sub api_key { return $_[0]{api_key}; }
sub url { return "$_[0]{scheme}://127.0.0.1:$_[0]{options}{port}"; }

# Ends it in order, or as kill -9 does; start() brings it back.
sub stop { return $_[0]->end('TERM'); }
sub kill9 { return $_[0]->end('KILL'); }

sub end
{
	my ($self, $signal) = @_;
	my $process = delete $self->{process} or return;

	$process->signal($signal);
	eval { $process->finish };
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $@);
	$self->end('KILL');
	return;
}

# The control endpoint; see test/api/README.md for what it takes and returns.
sub stats { return $_[0]->control(GET => 'stats'); }
sub requests { return $_[0]->control(GET => 'requests'); }
sub documents { return $_[0]->control(GET => "documents?collection=$_[1]"); }
sub config { my ($self, %config) = @_; return $self->control(POST => 'config', \%config); }
sub reset { my ($self, %what) = @_; return $self->control(POST => 'reset', \%what); }

# faults({kind => ..., ...}...): these and no others from now on.
sub faults { my ($self, @faults) = @_; return $self->control(POST => 'faults', { faults => \@faults }); }

sub control
{
	my ($self, $method, $path, $body) = @_;
	my $url = $self->url . "/_control/$path";
	my $json = JSON::PP->new->utf8->allow_nonref;
	my $text = defined $body ? $json->encode($body) : undef;
	my $answer = $self->{scheme} eq 'https' ? fetch_tls($method, $url, $text) : fetch($method, $url, $text);

	return $answer eq '' ? undef : $json->decode($answer);
}

sub fetch
{
	my ($method, $url, $text) = @_;
	my $answer = HTTP::Tiny->new(timeout => 30, keep_alive => 0)->request(
		$method, $url,
		defined $text ? { content => $text, headers => { 'content-type' => 'application/json' } } : {});

	die "$method $url: $answer->{status} $answer->{content}" unless $answer->{success};
	return $answer->{content};
}

# Core Perl has no TLS, but openssl has.
sub fetch_tls
{
	my ($method, $url, $text) = @_;
	my ($host, $path) = $url =~ m{^https://([^/]+)(.*)$};
	my ($out, $err) = ('', '');
	my $request = "$method $path HTTP/1.0\r\nHost: $host\r\nContent-Length: " . length($text // '') .
	  "\r\n\r\n" . ($text // '');

	IPC::Run::run([ 'openssl', 's_client', '-quiet', '-connect', $host ], '<', \$request, '>', \$out, '2>', \$err,
		IPC::Run::timeout(30));
	my ($head, $content) = split(/\r\n\r\n/, $out, 2);
	die "$method $url: $out $err" unless defined $content && $head =~ m{^HTTP/1\.[01] 2};
	return $content;
}

1;
