# A raw client of the API, for tests of the local server and of what the extension wrote there.
#
#   my $client = MixpeekTest::Client->new($api->url);
#   my $answer = $client->call(POST => '/v1/collections/c/documents', { metadata => { a => 1 } });
#   is($answer->{status}, 200);
#   is($answer->{body}{metadata}{a}, 1);
#
package MixpeekTest::Client;
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;

# MixpeekTest::Client->new(URL, key => KEY, namespace => NAMESPACE): sk_test and test by default; a
# namespace of undef sends no header.
sub new
{
	my ($class, $url, %options) = @_;

	return bless {
		url => $url,
		json => JSON::PP->new->utf8->allow_nonref->canonical,
		http => HTTP::Tiny->new(timeout => 60, keep_alive => 0),
		key => 'sk_test',
		namespace => 'test',
		%options,
	}, $class;
}

# One request; BODY is JSON text or what becomes it. The answer has status, headers, body (decoded) and text.
sub call
{
	my ($self, $method, $path, $body) = @_;
	my %headers = (Authorization => "Bearer $self->{key}");
	my %request = (headers => \%headers);

	$headers{'X-Namespace'} = $self->{namespace} if defined $self->{namespace};
	if (defined $body)
	{
		$headers{'Content-Type'} = 'application/json';
		$request{content} = ref $body ? $self->{json}->encode($body) : $body;
	}
	my $response = $self->{http}->request($method, $self->{url} . $path, \%request);

	die "$method $path: $response->{content}" if $response->{status} == 599;
	return {
		status => $response->{status},
		headers => $response->{headers},
		text => $response->{content},
		body => eval { $self->{json}->decode($response->{content}) },
	};
}

1;
