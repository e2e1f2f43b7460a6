module olm/oras

go 1.22.0

require oras.land/oras v1.2.0
