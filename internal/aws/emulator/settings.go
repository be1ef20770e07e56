package emulator

import "maps"

// deletable are the settings that the words of PropertiesToDelete mean.
var deletable = map[string]string{
	"SAML_PROPERTIES_USER_ACCESS_URL":                             "UserAccessUrl",
	"SAML_PROPERTIES_RELAY_STATE_PARAMETER_NAME":                  "RelayStateParameterName",
	"CERTIFICATE_BASED_AUTH_PROPERTIES_CERTIFICATE_AUTHORITY_ARN": "CertificateAuthorityArn",
}

// needed is the setting without which another status than DISABLED makes no sense.
var needed = map[string]string{"SamlProperties": "UserAccessUrl", "CertificateBasedAuthProperties": "CertificateAuthorityArn"}

type modifySettingsInput struct {
	ResourceId         string
	PropertiesToDelete []string
}

// modifySettings makes the operation that changes the settings a member of its input shows. What is not given
// stays as it is; what is deleted goes back to the default.
func modifySettings(member string) func(*Emulator, *call, modifySettingsInput) (any, error) {
	return func(e *Emulator, c *call, in modifySettingsInput) (any, error) {
		d, err := e.world.modifiable(c, in.ResourceId)
		if err != nil {
			return nil, err
		}
		given, _ := c.input[member].(map[string]any)
		if len(given) == 0 && len(in.PropertiesToDelete) == 0 {
			return nil, invalidParameters("No properties to modify were specified.")
		}
		changed := settings{}
		maps.Copy(changed, d.Settings[member])
		for _, property := range in.PropertiesToDelete {
			delete(changed, deletable[property])
		}
		maps.Copy(changed, given)
		d = d.withSetting(member, changed)
		if now := d.setting(member); needed[member] != "" && now["Status"] != "DISABLED" && now[needed[member]] == nil {
			return nil, invalidParameters(needed[member] + " is required unless the status is DISABLED.")
		}
		return nothing{}, e.commit(d)
	}
}

// modifiable finds a directory whose settings may be changed now.
func (w *world) modifiable(c *call, id string) (*directory, error) {
	d, ok := w.directory(c, id)
	if !ok {
		return nil, notFound(id)
	}
	if state := d.state(c.at); state != directoryRegistered {
		return nil, notSupported("The specified directory cannot be modified in the state " + state + ".")
	}
	return d, nil
}

type modifyEncryptionInput struct{ DirectoryId, EndpointEncryptionMode string }

func modifyEncryptionMode(e *Emulator, c *call, in modifyEncryptionInput) (any, error) {
	found, err := e.world.modifiable(c, in.DirectoryId)
	if err != nil {
		return nil, err
	}
	d := *found
	d.EncryptionMode = in.EndpointEncryptionMode
	return nothing{}, e.commit(&d)
}

type describeClientPropertiesInput struct{ ResourceIds []string }

type wireClientProperties struct {
	ResourceId       string
	ClientProperties settings
}

func describeClientProperties(e *Emulator, c *call, in describeClientPropertiesInput) (any, error) {
	out := struct{ ClientPropertiesList []wireClientProperties }{[]wireClientProperties{}}
	for _, id := range in.ResourceIds {
		d, ok := e.world.directory(c, id)
		if !ok {
			return nil, notFound(id)
		}
		out.ClientPropertiesList = append(out.ClientPropertiesList, wireClientProperties{id, d.setting("ClientProperties")})
	}
	return out, nil
}
