# Fetches by net/pop; see ../scripted.py for what is expected of it.
require 'net/pop'
require 'openssl'

pop = Net::POP3.new('localhost', ENV['POP_PORT'].to_i, ENV['POP_LOGIN'] == 'APOP')
if ENV['POP_WAY'] == 'implicit'
  store = OpenSSL::X509::Store.new
  store.add_file(ENV['POP_CA'])
  pop.enable_ssl(verify_mode: OpenSSL::SSL::VERIFY_PEER, cert_store: store)
end
pop.read_timeout = 60
pop.start(ENV['POP_NAME'], ENV['POP_PASSWORD'])
seen = File.exist?('seen') ? File.readlines('seen', chomp: true) : []
puts "popstat #{pop.n_mails} #{pop.n_bytes}"
pop.mails.each do |mail|
  next if seen.include?(mail.unique_id)
  File.binwrite(format('out/%06d', mail.number), mail.pop)
  File.write('seen', "#{mail.unique_id}\n", mode: 'a')
  mail.delete if ENV['POP_KEEP'].empty?
end
pop.finish
