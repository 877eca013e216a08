# What the worker takes for JSON: it skips most of an answer's text and parses the rest (src/base/json.c), and must be
# as strict about the one as about the other.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my $node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
mixpeek.max_attempts = 1
});
my $api = MixpeekTest::Server->new(enrich => 'now');
create_server($node, 'mixpeek', $api);

use_node($node, $api);

my $deep = sub { my ($n) = @_; return ('[' x $n) . (']' x $n) };

# Valid answers: name, text, and the enrichments that they have.
my @right = (
	[ 'nothing but an id', '{"document_id":"ID"}' ],
	[ 'white space everywhere', " \n{\t\"document_id\" :\r\"ID\" ,\n \"metadata\" : { } , \"vector\" : [ ] } \n" ],
	[ 'values of all kinds',
		'{"metadata":{"a":[1,-0,0.5,-1.25e+10,2E-3,true,false,null,"",{},[]]},"vector":null,"document_id":"ID"}' ],
	[ 'escapes', '{"metadata":{"a\"b\\\\":"\\\\","c":"\u00e9\ud83d\ude00\/\b\f\n\r\t"},"document_id":"ID"}' ],
	[ 'brackets and commas in texts', '{"metadata":{"a":"}]{[,\":","b":"\\\\\""},"document_id":"ID"}' ],
	[ 'names that are escaped', '{"m\u0065tadata":{"a":1},"document\u005fid":"ID"}' ],
	[ 'two ids, of which the last one counts', '{"document_id":"other","document_id":"ID"}' ],
	[ 'bytes above 127', qq({"metadata":{"\x{e9}":"\x{1F600}"},"document_id":"ID"}) ],
	[ 'much nesting', '{"metadata":' . $deep->(60) . ',"document_id":"ID"}' ],
	[ 'much more nesting, which is left to the parser', '{"metadata":' . $deep->(500) . ',"document_id":"ID"}' ],
	[ 'enrichments', '{"metadata":{"a":1},"enrichments":{"taxonomies":[{"label":"x, }"}]},"document_id":"ID"}',
		'{"taxonomies": [{"label": "x, }"}]}' ],
	[ 'enrichments as fields at the root',
		'{"document_id":"ID","metadata":{"a":1},"taxonomy_x_label":"\"l\"","cluster_id":7}',
		'{"cluster_id": 7, "taxonomy_x_label": "\"l\""}' ],
);

# Invalid answers.
my @wrong = map { [ $_, '{"document_id":"ID","metadata":' . $_ . '}' ] } (
	'', '{', '}', '[', ']', '{"a"}', '{"a" 1}', '{"a":}', '{"a":1,}', '{"a":1 "b":2}', '{a:1}', "{'a':1}", '{"a":1]',
	'[1,]', '[1 2]', '[,1]', '[1}',
	'01', '1.', '.5', '-', '+1', '1e', '1e+', '0x1', 'NaN', 'tru', 'nul', 'truefalse', 'undefined',
	'"', '"a', "\"a\nb\"", "\"a\tb\"", '"\x"', '"\u12g4"', '"\u12', '"\\', '"a""b"', $deep->(80) . ']',
);
push @wrong, map { [ $_, $_ ] } ('', ' ', '{"document_id":"ID"', '{"document_id":"ID",}', '{,"document_id":"ID"}',
	'{"document_id":"ID"},', '{"document_id":"ID"}{}',
	'{"document_id":"ID"} x', '{"document_id":"ID" "a":1}', '{"document_id" "ID"}', '{"document_id":}',
	'x{"document_id":"ID"}', '["document_id", "ID"');

sub answer
{
	my ($key, $text) = @_;

	return { kind => 'status', status => 200, method => 'POST', body => "\"$key\"",
		answer => $text =~ s/ID/doc_$key/r };
}

sub keys_of { my ($prefix, $list) = @_; return map { "$prefix$_" } 0 .. $#$list; }

my @right_keys = keys_of('right', \@right);
my @wrong_keys = keys_of('wrong', \@wrong);
$api->faults((map { answer($right_keys[$_], $right[$_][1]) } 0 .. $#right),
	(map { answer($wrong_keys[$_], $wrong[$_][1]) } 0 .. $#wrong));

# A template that has metadata of any names, so that those of an answer are no enrichments.
sql(q{CREATE TABLE items (id text PRIMARY KEY, m jsonb); SELECT mixpeek.mirror('items', 'items', '{"metadata": "$m"}')});
sql('INSERT INTO items SELECT k, jsonb_build_object(\'key\', k) FROM unnest(ARRAY[\''
	. join("','", @right_keys, @wrong_keys) . "']) k");
is(sql("SELECT mixpeek.wait('60 s')"), 't', 'wait() for all answers returns true');
my $documents = decode_json(sql('SELECT json_object_agg(key, to_json(d.*)) FROM mixpeek.documents d'));

foreach my $i (0 .. $#right)
{
	my $document = $documents->{ $right_keys[$i] };
	my ($name, undef, $enrichments) = @{ $right[$i] };

	is("$document->{state} $document->{document_id}", "mirrored doc_$right_keys[$i]",
		"valid answer, $name: the document is mirrored") or diag($document->{last_error});
	is_deeply($document->{enrichments}, $enrichments ? decode_json($enrichments) : undef,
		"valid answer, $name: its enrichments");
}
foreach my $i (0 .. $#wrong)
{
	my $document = $documents->{ $wrong_keys[$i] };

	is($document->{state}, 'failed', "invalid answer $wrong[$i][0]: the row fails");
	like($document->{last_error}, qr/^Mixpeek API sent an answer that is not valid JSON/,
		"invalid answer $wrong[$i][0]: last_error says that it is not valid JSON");
	is($document->{document_id}, undef, "invalid answer $wrong[$i][0]: its id is not stored");
}

done_testing();
