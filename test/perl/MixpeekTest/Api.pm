# What the tests of the local API server share: a server of 2026-10, and requests by a raw client. PostgreSQL is not
# needed.
#
#   use MixpeekTest::Api;
#
#   with { put => 'replaces' }, sub {
#       my $id = create({ a => 1 })->{document_id};
#       is_deeply(done(PUT => "$documents/$id", { metadata => { b => 2 } })->{metadata}, { b => 2 });
#   };
package MixpeekTest::Api;
use strict;
use warnings;
use Exporter qw(import);
use JSON::PP;
use MixpeekTest;
use MixpeekTest::Client;

our @EXPORT = qw(with call done create get found upsert $api $client $documents $upserts $namespace %seen);

our $documents = '/v1/collections/c/documents';
our $upserts = '/v1/namespaces/test/documents/upsert';
our $namespace = '/v1/namespaces/test';
our %seen;    # trait -> value -> it was set

our $api = MixpeekTest::Server->new(contract => '2026-10', enrich => 'never', namespace => [ 'test', 'other' ],
	collection => [ 'c', 'd' ], vector_index => [ 'a:2', 'b:3' ]);
our $client = MixpeekTest::Client->new($api->url);
my %defaults = %{ $api->control(GET => 'config') };

# Sets traits for the time of the code, on a server without documents.
sub with
{
	my ($traits, $code) = @_;

	$api->reset(documents => JSON::PP::true, faults => JSON::PP::true);
	$seen{$_}{ $traits->{$_} } = 1 foreach keys %$traits;
	$api->config(%$traits);
	$code->();
	$api->config(map { $_ => $defaults{$_} } keys %$traits);
	return;
}

sub call { return $client->call(@_); }

# A request that must succeed; returns the answer's body.
sub done
{
	my $answer = call(@_);
	die "$_[0] $_[1]: $answer->{status} $answer->{text}" if $answer->{status} != 200;
	return $answer->{body};
}

sub create { return done(POST => $documents, { metadata => $_[0] // {}, %{ $_[1] // {} } }); }
sub get { return done(GET => "$documents/$_[0]"); }

# The metadata.n of the documents that a filter finds, or of all.
sub found
{
	my ($field, $value, %logic) = @_;
	my $condition = { field => $field, operator => 'eq', value => $value };
	my $filters = defined $field ? { AND => [$condition], %logic } : undef;
	my $answer = done(POST => "$documents/list", { filters => $filters, limit => 1000 });

	return join(' ',
		map { $_->{metadata}{n} // $_->{n} // $_->{_internal}{metadata}{n} // '?' } @{ $answer->{results} });
}

sub upsert
{
	my ($list, %options) = @_;
	return { collection_id => 'c', documents => [ map { { vectors => { a => [ 1, 2 ] }, %$_ } } @$list ],
		(%options ? (options => \%options) : ()) };
}

1;
