# Fetches by Net::POP3; see ../scripted.py for what is expected of it.
use strict;
use warnings;
use Net::POP3;

my %tls = (SSL_ca_file => $ENV{POP_CA}, SSL_verifycn_name => 'localhost');
my $pop = Net::POP3->new(
    'localhost', Port => $ENV{POP_PORT}, Timeout => 60,
    $ENV{POP_WAY} eq 'implicit' ? (SSL => 1, %tls) : (),
) or die "no connection: $@";
if ($ENV{POP_WAY} eq 'starttls') {
    $pop->starttls(%tls) or die 'no STLS: ' . $pop->message;
}
my $login = $ENV{POP_LOGIN} || 'login';
my $count = $pop->$login($ENV{POP_NAME}, $ENV{POP_PASSWORD});
$count or die 'not logged in: ' . $pop->message;
print 'count ', $count + 0, "\n";
my ($messages, $octets) = $pop->popstat;
print "popstat $messages $octets\n";

my %seen;
if (open my $in, '<', 'seen') { chomp, $seen{$_} = 1 while <$in>; }
open my $out, '>>', 'seen' or die;
my $ids = $pop->uidl;
for my $number (sort { $a <=> $b } keys %$ids) {
    next if $seen{$ids->{$number}};
    my $lines = $pop->get($number) or die "no message $number: " . $pop->message;
    # Inside TLS the lines come from another class, with their CR.
    if ($ENV{POP_WAY} ne 'plain') { s/\r\n\z/\n/ for @$lines; }
    open my $file, '>:raw', sprintf('out/%06d', $number) or die;
    print $file @$lines;
    close $file or die;
    print $out "$ids->{$number}\n";
    next if $ENV{POP_KEEP};
    $pop->delete($number) or die "message $number not deleted: " . $pop->message;
}
$pop->quit or die 'QUIT failed: ' . $pop->message;
