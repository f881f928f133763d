# Not a base: metafiles list it before a config without published weights, so that `mim download` prints this line.
print('No weights of this config are published: `mim train mmthunder CONFIG` trains them; results: its README')
